-- Written by `python -m tests.support.golden_sql --write`.

DELETE FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.limit_key = any(%(param_1)s::TEXT[])
AND limit_places.worker_id IS NULL
AND (
  SELECT tasks.id
  FROM tasks
  WHERE tasks.id = limit_places.task_id
  AND tasks.status = %(status_1)s
  AND (tasks.held IS NULL OR tasks.held = 'limit' OR tasks.held = 'limit_key')
  AND tasks.turn IS NOT NULL
  AND tasks.user_limited
  AND tasks.attempt + %(attempt_1)s = limit_places.attempt
  LIMIT 1) IS NULL
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

DELETE FROM limit_places
WHERE limit_places.task_id = ANY (%(p_ids)s::UUID[])
AND limit_places.worker_id IS NULL;

SELECT DISTINCT limit_places.limit_key
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.worker_id IS NULL
AND limit_places.ended_at IS NULL;

SELECT first.id, CAST(anon_1.user_id AS TEXT) AS user_id, first.queue, first.celery_task_name, first.place
FROM unnest(%(p_users)s::UUID[], %(p_rooms)s::INTEGER[]) AS anon_1(user_id, room)
JOIN LATERAL (
  SELECT next.id AS id, anon_2.queue AS queue, next.celery_task_name AS celery_task_name, anon_2.place AS place
  FROM unnest(%(p_queues)s::TEXT[], %(p_priorities)s::TEXT[]) WITH ORDINALITY AS anon_2(queue, priority, place)
  JOIN LATERAL (
    SELECT tasks.id AS id, tasks.celery_task_name AS celery_task_name, tasks.limit_key AS limit_key, tasks.turn AS turn
    FROM tasks
    WHERE tasks.user_id = anon_1.user_id
    AND tasks.status = %(status_1)s
    AND tasks.held = 'user'
    AND tasks.turn IS NOT NULL
    AND tasks.queue = anon_2.queue
    AND tasks.priority = anon_2.priority
    AND coalesce(tasks.expires_at, %(coalesce_1)s) > clock_timestamp()
    ORDER BY tasks.turn, tasks.id
    LIMIT 500
    FOR UPDATE SKIP LOCKED) AS next ON true
  LIMIT anon_1.room) AS first ON true;

SELECT limit_places.limit_key, count(*) AS count_1, count(*) FILTER (
  WHERE limit_places.worker_id IS NULL) AS anon_1
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.limit_key = ANY (%(p_users)s::TEXT[])
AND limit_places.ended_at IS NULL
GROUP BY limit_places.limit_key;

SELECT pg_advisory_xact_lock(hashtextextended(anon_1."user", 7315624)) AS pg_advisory_xact_lock_1
FROM unnest(%(p_users)s::TEXT[]) AS anon_1("user");

SELECT task.id, task.queue, task.priority, limit_places.limit_key
FROM limit_places
JOIN LATERAL (
  SELECT tasks.id AS id, tasks.queue AS queue, tasks.priority AS priority
  FROM tasks
  WHERE tasks.id = limit_places.task_id
  AND tasks.status = %(status_1)s
  AND (tasks.held IS NULL OR tasks.held = 'limit' OR tasks.held = 'limit_key')
  LIMIT 1) AS task ON true
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.limit_key = any(%(param_1)s::TEXT[])
AND limit_places.worker_id IS NULL
AND limit_places.ended_at IS NULL;

UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.limit_key = any(%(param_1)s::TEXT[])
AND limit_places.worker_id IS NULL
AND (
  SELECT tasks.id
  FROM tasks
  WHERE tasks.id = limit_places.task_id
  AND tasks.status = %(status_1)s
  AND (tasks.held IS NULL OR tasks.held = 'limit' OR tasks.held = 'limit_key')
  AND tasks.turn IS NOT NULL
  AND tasks.user_limited
  AND tasks.attempt + %(attempt_1)s = limit_places.attempt
  LIMIT 1) IS NULL
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

UPDATE tasks
SET held=%(held)s
WHERE tasks.id = ANY (%(p_ids)s::UUID[])
AND tasks.status = %(status_1)s
AND (tasks.held IS NULL OR tasks.held = 'limit' OR tasks.held = 'limit_key')
RETURNING tasks.id;

UPDATE tasks
SET status=%(status)s, status_reason=%(status_reason)s, progress=%(progress)s, progress_detail=%(progress_detail)s,
    result=%(result)s, error_type=%(error_type)s, error_message=%(error_message)s,
    error_fingerprint=%(error_fingerprint)s, run_at=%(run_at)s, expires_at=CASE WHEN (tasks.expires_at >
    clock_timestamp()) THEN tasks.expires_at ELSE NULL END, active_key=tasks.unique_key, user_limited=%(user_limited)s,
    held=%(held)s, claim_id=%(claim_id)s::UUID, worker_pid=%(worker_pid)s, failures=%(failures)s, crashes=%(crashes)s,
    celery_id=%(celery_id)s::UUID, generation=(tasks.generation + %(generation_1)s), due_at=clock_timestamp(),
    turn=%(turn)s, delete_requested_at=%(delete_requested_at)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp(), finished_at=%(finished_at)s, cancel_requested_at=%(cancel_requested_at)s
WHERE (CAST(tasks.status AS TEXT) || '') IN (%(param_1_1)s, …)
AND tasks.id = %(id_1)s::UUID
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

WITH RECURSIVE waiting(value) AS (
  SELECT (
    SELECT tasks.user_id
    FROM tasks
    WHERE tasks.status = %(status_1)s
    AND tasks.turn IS NOT NULL
    AND tasks.held = 'user'
    ORDER BY tasks.user_id
    LIMIT 1) AS value
  UNION ALL
  SELECT (
    SELECT tasks.user_id
    FROM tasks
    WHERE tasks.status = %(status_1)s
    AND tasks.turn IS NOT NULL
    AND tasks.held = 'user'
    AND tasks.user_id > waiting.value
    ORDER BY tasks.user_id
    LIMIT 1) AS anon_1
  FROM waiting
  WHERE waiting.value IS NOT NULL)
SELECT CAST(waiting.value AS TEXT) AS value
FROM waiting
WHERE waiting.value IS NOT NULL;

WITH admitted AS (
  UPDATE tasks
  SET held=CASE WHEN (tasks."limit" IS NOT NULL) THEN %(param_2)s END, turn=greatest(tasks.turn, coalesce((
        SELECT max(claimed_turns.turn) AS max_1
        FROM claimed_turns
        WHERE claimed_turns.queue = tasks.queue
        AND claimed_turns.priority = tasks.priority), %(coalesce_1)s))
  WHERE tasks.id = ANY (%(p_ids)s::UUID[])
  AND tasks.status = %(status_1)s
  AND tasks.held = 'user'
  RETURNING tasks.id, tasks.attempt, tasks.user_id, tasks.queue, tasks."limit", tasks.limit_key), placed AS (
  INSERT INTO limit_places (task_id, attempt, limit_name, limit_key)
  SELECT admitted.id AS id, admitted.attempt + %(attempt_1)s AS anon_1, %(param_1)s AS anon_2, CAST(admitted.user_id AS
      TEXT) AS user_id
  FROM admitted
  ON CONFLICT (task_id, attempt, limit_name)
  DO UPDATE SET limit_key = excluded.limit_key, admitted_at = clock_timestamp())
SELECT admitted.queue, admitted."limit"
FROM admitted;

WITH batch AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND (tasks.user_limited IS NOT true OR NOT (EXISTS (
        SELECT *
        FROM limit_places
        WHERE limit_places.task_id = tasks.id
        AND limit_places.attempt = tasks.attempt + %(attempt_1)s
        AND limit_places.limit_name = %(limit_name_1)s
        AND limit_places.ended_at IS NULL)))
  AND tasks.held = 'limit'
  ORDER BY tasks."limit"
  LIMIT %(param_1)s
  FOR UPDATE OF tasks SKIP LOCKED)
UPDATE tasks
SET user_limited=%(user_limited)s, held=%(held)s
FROM batch
WHERE tasks.id = batch.id;

WITH batch AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND (tasks.user_limited IS NOT true OR NOT (EXISTS (
        SELECT *
        FROM limit_places
        WHERE limit_places.task_id = tasks.id
        AND limit_places.attempt = tasks.attempt + %(attempt_1)s
        AND limit_places.limit_name = %(limit_name_1)s
        AND limit_places.ended_at IS NULL)))
  AND tasks.held = 'limit_key'
  AND tasks.limit_key IS NOT NULL
  ORDER BY tasks."limit", tasks.limit_key
  LIMIT %(param_1)s
  FOR UPDATE OF tasks SKIP LOCKED)
UPDATE tasks
SET user_limited=%(user_limited)s, held=%(held)s
FROM batch
WHERE tasks.id = batch.id;

WITH batch AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND (tasks.user_limited IS NOT true OR NOT (EXISTS (
        SELECT *
        FROM limit_places
        WHERE limit_places.task_id = tasks.id
        AND limit_places.attempt = tasks.attempt + %(attempt_1)s
        AND limit_places.limit_name = %(limit_name_1)s
        AND limit_places.ended_at IS NULL)))
  AND tasks.held IS NULL
  ORDER BY tasks.queue
  LIMIT %(param_1)s
  FOR UPDATE OF tasks SKIP LOCKED)
UPDATE tasks
SET user_limited=%(user_limited)s, held=%(held)s
FROM batch
WHERE tasks.id = batch.id;

WITH batch AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND tasks.held = 'user'
  ORDER BY tasks.user_id, tasks.queue, tasks.priority, tasks.turn
  LIMIT %(param_2)s
  FOR UPDATE OF tasks SKIP LOCKED)
UPDATE tasks
SET user_limited=%(user_limited)s, held=CASE WHEN (tasks."limit" IS NOT NULL) THEN %(param_1)s END,
    turn=greatest(tasks.turn, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = tasks.queue
      AND claimed_turns.priority = tasks.priority), %(coalesce_1)s))
FROM batch
WHERE tasks.id = batch.id;

WITH batch AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NULL
  AND tasks.due_at <= statement_timestamp()
  AND tasks.user_limited IS NOT true
  ORDER BY tasks.due_at
  LIMIT %(param_3)s
  FOR UPDATE OF tasks SKIP LOCKED)
UPDATE tasks
SET user_limited=%(user_limited)s, held=CASE WHEN (tasks.held = 'name') THEN %(param_1)s ELSE %(param_2)s END
FROM batch
WHERE tasks.id = batch.id;
