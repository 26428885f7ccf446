-- Written by `python -m tests.support.golden_sql --write`.

UPDATE tasks
SET args=%(args)s, kwargs=%(kwargs)s, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;

UPDATE tasks
SET expires_at=%(expires_at)s, timeout_seconds=%(timeout_seconds)s, retry_backoff_seconds=%(retry_backoff_seconds)s,
    max_attempts=%(max_attempts)s, max_attempts_named=%(max_attempts_named)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;

UPDATE tasks
SET max_attempts=%(max_attempts)s, max_attempts_named=%(max_attempts_named)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;

UPDATE tasks
SET name=%(name)s, attached_bytes=CASE WHEN (tasks.attached_bytes + %(attached_bytes_1)s > %(param_1)s) THEN
    tasks.attached_bytes + %(attached_bytes_1)s ELSE %(param_2)s END, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s;

UPDATE tasks
SET name=%(name)s, tags=%(tags)s::TEXT[], metadata=%(metadata)s::JSONB, attached_bytes=CASE WHEN (tasks.attached_bytes +
    %(attached_bytes_1)s > %(param_1)s) THEN tasks.attached_bytes + %(attached_bytes_1)s ELSE %(param_2)s END,
    version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s;

UPDATE tasks
SET priority=%(priority)s, queue=%(queue)s, held=CASE WHEN (tasks.user_limited IS true) THEN %(param_1)s WHEN
    (tasks."limit" IS NOT NULL) THEN %(param_2)s END, due_at=CASE WHEN (coalesce(tasks.run_at, clock_timestamp()) >
    clock_timestamp()) THEN tasks.run_at ELSE clock_timestamp() END, turn=%(turn)s, version=(tasks.version +
    %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_3)s;

UPDATE tasks
SET run_at=%(run_at)s, held=CASE WHEN (tasks.user_limited IS true) THEN %(param_1)s WHEN (tasks."limit" IS NOT NULL)
    THEN %(param_2)s END, due_at=CASE WHEN (coalesce(%(param_3)s, clock_timestamp()) > clock_timestamp()) THEN
    %(param_3)s ELSE clock_timestamp() END, turn=%(turn)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_4)s;

UPDATE tasks
SET run_at=%(run_at)s, held=CASE WHEN (tasks.user_limited IS true) THEN %(param_1)s WHEN (tasks."limit" IS NOT NULL)
    THEN %(param_2)s END, due_at=CASE WHEN (coalesce(NULL, clock_timestamp()) > clock_timestamp()) THEN NULL ELSE
    clock_timestamp() END, turn=%(turn)s, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_3)s;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_2)s, status_reason=CASE WHEN (tasks.cancel_requested_at IS NOT NULL) THEN %(param_3)s ELSE
      %(param_4)s END, progress=%(param_5)s, error_type=%(param_6)s, error_message=%(param_7)s, active_key=%(param_8)s,
      held=%(param_9)s, claim_id=%(param_10)s::UUID, worker_pid=%(param_11)s, due_at=%(param_12)s, turn=%(param_13)s,
      attached_bytes=(tasks.attached_bytes + %(param_14)s), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_15)s
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
