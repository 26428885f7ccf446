-- Written by `python -m tests.support.golden_sql --write`.

DELETE FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.ended_at IS NOT NULL
AND limit_places.started_at <= clock_timestamp() - %(param_1)s * interval '1 second';

DELETE FROM limit_places
WHERE limit_places.task_id = ANY (%(p_ids)s::UUID[])
AND limit_places.limit_name = %(limit_name_1)s
AND limit_places.worker_id IS NULL;

SELECT EXTRACT(epoch FROM (min(limit_places.started_at) + %(param_1)s * interval '1 second') - clock_timestamp()) AS
    anon_1
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.started_at > clock_timestamp() - %(param_1)s * interval '1 second';

SELECT anon_1.key, first.id, first.place
FROM unnest(%(p_keys)s::TEXT[]) AS anon_1(key)
JOIN LATERAL (
  SELECT next.id AS id, anon_2.place AS place
  FROM unnest(%(p_queues)s::TEXT[], %(p_priorities)s::TEXT[]) WITH ORDINALITY AS anon_2(queue, priority, place)
  JOIN LATERAL (
    SELECT tasks.id AS id, tasks.celery_task_name AS celery_task_name, tasks.limit_key AS limit_key, tasks.turn AS turn
    FROM tasks
    WHERE tasks."limit" = %(p_limit)s
    AND tasks.limit_key = anon_1.key
    AND tasks.status = %(status_1)s
    AND tasks.held = 'limit_key'
    AND tasks.turn IS NOT NULL
    AND tasks.queue = anon_2.queue
    AND tasks.priority = anon_2.priority
    AND coalesce(tasks.expires_at, %(coalesce_1)s) > clock_timestamp()
    ORDER BY tasks.turn, tasks.id
    LIMIT 1
    FOR UPDATE SKIP LOCKED) AS next ON true
  LIMIT 1) AS first ON true
WHERE EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks."limit" = %(p_limit)s
  AND tasks.limit_key = anon_1.key
  AND tasks.held = 'limit_key'
  AND tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL);

UPDATE limits
SET concurrency=%(concurrency)s, concurrency_per_key=%(concurrency_per_key)s, updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

UPDATE limits
SET concurrency=%(concurrency)s, rate_count=%(rate_count)s, rate_period_seconds=%(rate_period_seconds)s,
    rate_per_key_count=%(rate_per_key_count)s, rate_per_key_period_seconds=%(rate_per_key_period_seconds)s,
    updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

UPDATE limits
SET concurrency=%(concurrency)s, updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

UPDATE tasks
SET held=%(held)s
WHERE tasks.id = ANY (%(p_ids)s::UUID[])
AND tasks.status = %(status_1)s
AND tasks.held IS NULL
RETURNING tasks.id;

WITH RECURSIVE waiting(value) AS (
  SELECT (
    SELECT tasks.limit_key
    FROM tasks
    WHERE tasks."limit" = %(limit_1)s
    AND tasks.limit_key IS NOT NULL
    AND tasks.status = %(status_1)s
    AND tasks.turn IS NOT NULL
    AND tasks.held = 'limit_key'
    ORDER BY tasks.limit_key
    LIMIT 1) AS value
  UNION ALL
  SELECT (
    SELECT tasks.limit_key
    FROM tasks
    WHERE tasks."limit" = %(limit_1)s
    AND tasks.limit_key IS NOT NULL
    AND tasks.status = %(status_1)s
    AND tasks.turn IS NOT NULL
    AND tasks.held = 'limit_key'
    AND tasks.limit_key > waiting.value
    ORDER BY tasks.limit_key
    LIMIT 1) AS anon_1
  FROM waiting
  WHERE waiting.value IS NOT NULL)
SELECT waiting.value
FROM waiting
WHERE waiting.value IS NOT NULL
AND NOT (EXISTS (
    SELECT *
    FROM tasks
    WHERE tasks."limit" = %(limit_1)s
    AND tasks.status = %(status_1)s
    AND tasks.turn IS NOT NULL
    AND tasks.held = 'limit'
    AND tasks.limit_key = waiting.value));

WITH known AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.held = 'name'
  AND tasks.queue = ANY (%(p_queues)s::TEXT[])
  AND tasks.celery_task_name = ANY (%(p_names)s::TEXT[])
  LIMIT %(param_3)s
  FOR UPDATE SKIP LOCKED)
UPDATE tasks
SET held=CASE WHEN (tasks.user_limited IS true) THEN %(param_1)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_2)s END,
    turn=CASE WHEN (tasks.turn IS NOT NULL) THEN greatest(tasks.turn, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = tasks.queue
      AND claimed_turns.priority = tasks.priority), %(coalesce_1)s)) END
FROM known
WHERE tasks.id = known.id;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      active_key=%(param_7)s, held=%(param_8)s, claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s,
      due_at=%(param_11)s, turn=%(param_12)s, attached_bytes=(tasks.attached_bytes + %(param_13)s +
      coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.cancel_requested_at IS NOT NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, NULL AS anon_2, %(param_2)s AS anon_3, NULL AS anon__1
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=%(param_4)s, progress=%(param_5)s, progress_detail=%(param_6)s,
      error_fingerprint=%(param_7)s, active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN
      %(param_8)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_9)s END, claim_id=%(param_10)s::UUID,
      worker_pid=%(param_11)s, due_at=clock_timestamp(), turn=%(param_12)s, attached_bytes=(tasks.attached_bytes +
      %(param_13)s + coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=%(param_15)s
  WHERE tasks.status = %(status_1)s
  AND tasks.cancel_requested_at IS NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, NULL AS anon_2, %(param_2)s AS anon_3, NULL AS anon__1
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;
