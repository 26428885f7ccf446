-- Written by `python -m tests.support.golden_sql --write`.

SELECT tasks.id, tasks.attempt, tasks.args, tasks.kwargs, tasks.failures, tasks.max_attempts, tasks.max_attempts_named,
    tasks.retry_backoff_seconds, tasks.celery_task_name, tasks.celery_id, tasks.queue, tasks.priority,
    tasks.timeout_seconds, tasks."limit", tasks.user_limited, tasks.followers
FROM tasks
WHERE tasks.claim_id = $1::UUID
AND tasks.worker_id = $2::UUID
AND tasks.status = 'running'
ORDER BY tasks.id;

WITH found AS (
  SELECT next_rows.id AS id, next_rows.turn AS turn, next_rows.is_short AS is_short, anon_1.queue AS queue,
      anon_1.priority AS priority, anon_1.place AS place
  FROM unnest(CAST($5 AS TEXT[]), CAST($6 AS TEXT[]), CAST($7 AS FLOAT[]), CAST($8 AS UUID[])) WITH ORDINALITY AS
      anon_1(queue, priority, floor, floor_id, place)
  JOIN LATERAL (
    SELECT row.id AS id, row.turn AS turn, row.celery_task_name = ANY (CAST($9 AS TEXT[]))
    AND row.crashes = 0
    AND row.rerun_lost AS is_short
    FROM tasks AS row
    WHERE row.queue = anon_1.queue
    AND row.priority = anon_1.priority
    AND row.status = 'pending'
    AND row.turn IS NOT NULL
    AND row.held IS NULL
    AND (row.turn, row.id) >= (anon_1.floor, anon_1.floor_id)
    AND NOT (EXISTS (
        SELECT *
        FROM claim_holds
        WHERE claim_holds.kind = 'queue'
        AND claim_holds.name = anon_1.queue))
    AND row.celery_task_name = ANY (CAST($10 AS TEXT[]))
    AND coalesce(row.expires_at, 'infinity') > clock_timestamp()
    ORDER BY row.turn, row.id
    LIMIT 1
    FOR UPDATE SKIP LOCKED) AS next_rows ON true
  LIMIT 1), picked AS (
  SELECT ranked.id AS id, ranked.turn AS turn, ranked.queue AS queue, ranked.priority AS priority, ranked.place AS place
  FROM (
    SELECT found.id AS id, found.turn AS turn, found.is_short AS is_short, found.queue AS queue, found.priority AS
        priority, found.place AS place, row_number() OVER (
      ORDER BY found.place, found.turn, found.id) AS number, bool_and(found.is_short) OVER (
      ORDER BY found.place, found.turn, found.id ROWS BETWEEN UNBOUNDED PRECEDING
      AND CURRENT ROW) AS all_short
    FROM found) AS ranked
  WHERE ranked.number = 1 OR ranked.all_short), ticked AS (
  INSERT INTO claimed_turns (queue, priority, turn)
  SELECT picked.queue AS queue, picked.priority AS priority, max(picked.turn) AS max_1
  FROM picked
  GROUP BY picked.queue, picked.priority
  ON CONFLICT
  DO NOTHING)
UPDATE tasks
SET status='running', error_type=NULL, error_message=NULL, attempt=(tasks.attempt + 1), claim_id=$1::UUID, worker=$2,
    worker_id=$3::UUID, worker_pid=$4, due_at=NULL, turn=NULL, version=(tasks.version + 1),
    updated_at=clock_timestamp(), started_at=clock_timestamp()
FROM picked
WHERE (CAST(tasks.status AS TEXT) || '') = 'pending'
AND tasks.id = picked.id
RETURNING tasks.id, tasks.attempt, tasks.args, tasks.kwargs, tasks.failures, tasks.max_attempts,
    tasks.max_attempts_named, tasks.retry_backoff_seconds, tasks.celery_task_name, tasks.celery_id, tasks.queue,
    tasks.priority, tasks.timeout_seconds, tasks."limit", tasks.user_limited, tasks.followers, picked.place, picked.turn;

WITH found AS (
  SELECT next_rows.id AS id, next_rows.turn AS turn, next_rows.is_short AS is_short, anon_1.queue AS queue,
      anon_1.priority AS priority, anon_1.place AS place
  FROM unnest(CAST($5 AS TEXT[]), CAST($6 AS TEXT[]), CAST($7 AS FLOAT[]), CAST($8 AS UUID[])) WITH ORDINALITY AS
      anon_1(queue, priority, floor, floor_id, place)
  JOIN LATERAL (
    SELECT row.id AS id, row.turn AS turn, row.celery_task_name = ANY (CAST($9 AS TEXT[]))
    AND row.crashes = 0
    AND row.rerun_lost AS is_short
    FROM tasks AS row
    WHERE row.queue = anon_1.queue
    AND row.priority = anon_1.priority
    AND row.status = 'pending'
    AND row.turn IS NOT NULL
    AND row.held IS NULL
    AND (row.turn, row.id) >= (anon_1.floor, anon_1.floor_id)
    AND NOT (EXISTS (
        SELECT *
        FROM claim_holds
        WHERE claim_holds.kind = 'queue'
        AND claim_holds.name = anon_1.queue))
    AND row.celery_task_name = ANY (CAST($10 AS TEXT[]))
    AND coalesce(row.expires_at, 'infinity') > clock_timestamp()
    ORDER BY row.turn, row.id
    LIMIT 10
    FOR UPDATE SKIP LOCKED) AS next_rows ON true
  LIMIT 10), picked AS (
  SELECT ranked.id AS id, ranked.turn AS turn, ranked.queue AS queue, ranked.priority AS priority, ranked.place AS place
  FROM (
    SELECT found.id AS id, found.turn AS turn, found.is_short AS is_short, found.queue AS queue, found.priority AS
        priority, found.place AS place, row_number() OVER (
      ORDER BY found.place, found.turn, found.id) AS number, bool_and(found.is_short) OVER (
      ORDER BY found.place, found.turn, found.id ROWS BETWEEN UNBOUNDED PRECEDING
      AND CURRENT ROW) AS all_short
    FROM found) AS ranked
  WHERE ranked.number = 1 OR ranked.all_short), ticked AS (
  INSERT INTO claimed_turns (queue, priority, turn)
  SELECT picked.queue AS queue, picked.priority AS priority, max(picked.turn) AS max_1
  FROM picked
  GROUP BY picked.queue, picked.priority
  ON CONFLICT
  DO NOTHING)
UPDATE tasks
SET status='running', error_type=NULL, error_message=NULL, attempt=(tasks.attempt + 1), claim_id=$1::UUID, worker=$2,
    worker_id=$3::UUID, worker_pid=$4, due_at=NULL, turn=NULL, version=(tasks.version + 1),
    updated_at=clock_timestamp(), started_at=clock_timestamp()
FROM picked
WHERE (CAST(tasks.status AS TEXT) || '') = 'pending'
AND tasks.id = picked.id
RETURNING tasks.id, tasks.attempt, tasks.args, tasks.kwargs, tasks.failures, tasks.max_attempts,
    tasks.max_attempts_named, tasks.retry_backoff_seconds, tasks.celery_task_name, tasks.celery_id, tasks.queue,
    tasks.priority, tasks.timeout_seconds, tasks."limit", tasks.user_limited, tasks.followers, picked.place, picked.turn;
