-- Written by `python -m tests.support.golden_sql --write`.

WITH moved AS (
  UPDATE tasks
  SET status='pending', status_reason=NULL, progress=0, progress_detail=NULL, error_fingerprint=NULL,
      active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN 'user' WHEN (tasks."limit" IS NOT
      NULL) THEN 'limit' END, claim_id=NULL::UUID, worker_pid=NULL, due_at=clock_timestamp(), turn=given_back.turn,
      attached_bytes=(tasks.attached_bytes + 256 + coalesce(octet_length('claimed, and not begun'), 0)),
      version=(tasks.version + 1), updated_at=clock_timestamp(), finished_at=NULL
  FROM json_to_recordset(CAST($1 AS JSON)) AS given_back(task_id UUID, attempt INTEGER, turn FLOAT)
  WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
  AND tasks.id = given_back.task_id
  AND tasks.attempt = given_back.attempt
  AND tasks.cancel_requested_at IS NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, 'handed_back' AS anon_1, NULL AS anon_2, 'claimed, and not begun' AS anon_3, NULL
      AS anon__1
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status='revoked', status_reason='cancelled', error_type=NULL, error_message=NULL, active_key=NULL, held=NULL,
      claim_id=NULL::UUID, worker_pid=NULL, due_at=NULL, turn=NULL, attached_bytes=(tasks.attached_bytes + 256 +
      coalesce(octet_length('claimed, and not begun'), 0)), version=(tasks.version + 1), updated_at=clock_timestamp(),
      finished_at=clock_timestamp()
  FROM json_to_recordset(CAST($1 AS JSON)) AS given_back(task_id UUID, attempt INTEGER, turn FLOAT)
  WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
  AND tasks.id = given_back.task_id
  AND tasks.attempt = given_back.attempt
  AND tasks.cancel_requested_at IS NOT NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, 'revoked' AS anon_1, NULL AS anon_2, 'claimed, and not begun' AS anon_3, NULL AS
      anon__1
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;
