-- Written by `python -m tests.support.golden_sql --write`.

SELECT DISTINCT tasks.user_id
FROM tasks
WHERE tasks.status = %(status_1)s
AND tasks.turn IS NULL
AND tasks.due_at <= statement_timestamp();

SELECT tasks.id
FROM tasks
LEFT OUTER JOIN worker_processes ON worker_processes.id = tasks.worker_id
WHERE tasks.status = %(status_1)s
AND (worker_processes.stopped_at IS NOT NULL OR greatest(worker_processes.heartbeat_at, tasks.started_at) <
    clock_timestamp() - %(clock_timestamp_1)s)
LIMIT %(param_1)s
FOR UPDATE OF tasks SKIP LOCKED;

WITH due AS (
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.queue AS queue, tasks.priority AS priority
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NULL
  AND tasks.due_at <= statement_timestamp()
  AND tasks.user_id = %(p_user_id)s::UUID
  ORDER BY tasks.due_at
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED), placed AS (
  SELECT due.id AS id, due.user_id AS user_id, due.queue AS queue, due.priority AS priority, row_number() OVER
      (PARTITION BY due.user_id, due.queue, due.priority
    ORDER BY due.id) AS nth
  FROM due
  WHERE due.id IS NOT NULL), wanted AS (
  SELECT placed.user_id AS user_id, placed.queue AS queue, placed.priority AS priority, count(*) AS number,
      CAST(coalesce(min(users.weight), %(coalesce_2)s) AS FLOAT) AS weight
  FROM placed
  LEFT OUTER JOIN users ON users.id = placed.user_id
  GROUP BY placed.user_id, placed.queue, placed.priority), at AS (
  SELECT wanted.user_id AS user_id, wanted.queue AS queue, wanted.priority AS priority, wanted.number AS number,
      wanted.weight AS weight, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = wanted.queue
      AND claimed_turns.priority = wanted.priority), %(coalesce_1)s) AS clock
  FROM wanted), given AS (
  INSERT INTO user_turns (user_id, queue, priority, clock, last)
  SELECT at.user_id AS user_id, at.queue AS queue, at.priority AS priority, at.clock AS clock, at.clock + at.number /
      CAST(at.weight AS FLOAT) AS anon_1
  FROM at
  ORDER BY at.user_id, at.queue, at.priority
  ON CONFLICT (user_id, queue, priority)
  DO UPDATE SET last = (greatest(user_turns.last, excluded.clock) + (excluded.last - excluded.clock)), clock =
      excluded.clock
  RETURNING user_turns.user_id, user_turns.queue, user_turns.priority, user_turns.last)
UPDATE tasks
SET turn=turns.turn
FROM (
  SELECT placed.id AS id, given.last - (wanted.number - placed.nth) / CAST(wanted.weight AS FLOAT) AS turn
  FROM placed, given, wanted
  WHERE placed.user_id = wanted.user_id
  AND placed.queue = wanted.queue
  AND placed.priority = wanted.priority
  AND placed.user_id = given.user_id
  AND placed.queue = given.queue
  AND placed.priority = given.priority) AS turns
WHERE tasks.id = turns.id;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_2)s, status_reason=CASE WHEN (tasks.cancel_requested_at IS NOT NULL) THEN %(param_3)s ELSE
      %(param_4)s END, error_type=%(param_5)s, error_message=%(param_6)s, active_key=%(param_7)s, held=%(param_8)s,
      claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s, due_at=%(param_11)s, turn=%(param_12)s,
      attached_bytes=(tasks.attached_bytes + %(param_13)s), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_14)s
  AND tasks.id = %(id_1)s::UUID
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, NULL AS anon_2, NULL AS anon__1, NULL AS anon__2
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_4)s, error_type=%(param_5)s, error_message=CASE WHEN tasks.rerun_lost THEN %(param_6)s ELSE
      %(param_7)s END, error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_8)s AS TEXT), CAST(CASE WHEN tasks.rerun_lost THEN %(param_6)s
      ELSE %(param_7)s END AS TEXT)), 'UTF8')), 'hex'), 32), active_key=%(param_9)s, held=%(param_10)s,
      claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s, crashes=(tasks.crashes + %(crashes_1)s),
      due_at=%(param_13)s, turn=%(param_14)s, attached_bytes=(tasks.attached_bytes + %(param_15)s +
      coalesce(octet_length(%(param_16)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_17)s
  AND tasks.id IN (%(id_1_1)s::UUID, …)
  AND tasks.cancel_requested_at IS NULL
  AND NOT (tasks.rerun_lost
    AND tasks.crashes + %(crashes_2)s < %(param_18)s)
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, %(param_2)s AS anon_2, %(param_3)s AS anon_3, NULL AS
      anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_4)s, status_reason=%(param_5)s, error_type=%(param_6)s, error_message=%(param_7)s,
      active_key=%(param_8)s, held=%(param_9)s, claim_id=%(param_10)s::UUID, worker_pid=%(param_11)s,
      due_at=%(param_12)s, turn=%(param_13)s, attached_bytes=(tasks.attached_bytes + %(param_14)s +
      coalesce(octet_length(%(param_15)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_16)s
  AND tasks.id IN (%(id_1_1)s::UUID, …)
  AND tasks.cancel_requested_at IS NOT NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, %(param_2)s AS anon_2, %(param_3)s AS anon_3, NULL AS
      anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_4)s, status_reason=%(param_5)s, progress=%(param_6)s, progress_detail=%(param_7)s,
      error_fingerprint=%(param_8)s, active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN
      %(param_9)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_10)s END, claim_id=%(param_11)s::UUID,
      worker_pid=%(param_12)s, crashes=(tasks.crashes + %(crashes_1)s), due_at=clock_timestamp(), turn=%(param_13)s,
      attached_bytes=(tasks.attached_bytes + %(param_14)s + coalesce(octet_length(%(param_15)s), %(coalesce_1)s)),
      version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(), finished_at=%(param_16)s
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_17)s
  AND tasks.id IN (%(id_1_1)s::UUID, …)
  AND tasks.cancel_requested_at IS NULL
  AND tasks.rerun_lost
  AND tasks.crashes + %(crashes_2)s < %(param_18)s
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, %(param_2)s AS anon_2, %(param_3)s AS anon_3, NULL AS
      anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;
