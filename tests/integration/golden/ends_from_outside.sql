-- Written by `python -m tests.support.golden_sql --write`.

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=CASE WHEN (tasks.cancel_requested_at IS NOT NULL) THEN %(param_4)s ELSE
      %(param_5)s END, progress=%(param_6)s, error_type=%(param_7)s, error_message=%(param_8)s, active_key=%(param_9)s,
      held=%(param_10)s, claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s, due_at=%(param_13)s, turn=%(param_14)s,
      attached_bytes=(tasks.attached_bytes + %(param_15)s + coalesce(octet_length(%(param_16)s), %(coalesce_1)s)),
      version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_17)s
  AND tasks.id = %(id_1)s::UUID
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, NULL AS anon_2, %(param_2)s AS anon_3, NULL AS anon__1
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;
