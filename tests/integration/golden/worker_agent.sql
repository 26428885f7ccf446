-- Written by `python -m tests.support.golden_sql --write`.

DELETE FROM limit_places
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

DELETE FROM limit_places
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.worker_pid = %(worker_pid_1)s
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

DELETE FROM limit_places
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.worker_pid = %(worker_pid_1)s
AND limit_places.task_id = %(task_id_1)s::UUID
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

INSERT INTO worker_processes (id, name, pid, queues, concurrency, task_names, processed, memory_bytes, version)
VALUES (%(id)s::UUID, %(name)s, %(pid)s, %(queues)s::TEXT[], %(concurrency)s, %(task_names)s::TEXT[], %(processed)s,
    %(memory_bytes)s, %(version)s)
ON CONFLICT (id)
DO UPDATE SET processed = %(param_1)s, memory_bytes = %(param_2)s, heartbeat_at = clock_timestamp(), stopped_at =
    %(param_3)s;

SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.due_at < statement_timestamp() - %(statement_timestamp_1)s
  AND tasks.turn IS NOT NULL
  AND tasks.queue IN (%(queue_1_1)s, …)) AS anon_1;

SELECT limit_places.task_id, limit_places.attempt, limit_places.worker_pid
FROM limit_places
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.ended_at IS NULL;

SELECT tasks.id
FROM tasks
WHERE tasks.worker_id = %(worker_id_1)s::UUID
AND tasks.worker_pid = %(worker_pid_1)s
AND (tasks.id NOT IN (%(id_1_1)s::UUID, …))
AND tasks.status = %(status_1)s;

SELECT tasks.id
FROM tasks
WHERE tasks.worker_id = %(worker_id_1)s::UUID
AND tasks.worker_pid = %(worker_pid_1)s
AND tasks.id = %(id_1)s::UUID
AND tasks.status = %(status_1)s;

SELECT tasks.id
FROM tasks
WHERE tasks.worker_id = %(worker_id_1)s::UUID
AND tasks.worker_pid = %(worker_pid_1)s
AND tasks.status = %(status_1)s;

SELECT tasks.id, tasks.attempt, tasks.worker_pid, tasks.cancel_requested_at IS NOT NULL AS anon_1
FROM tasks
WHERE tasks.worker_id = %(p_worker_id)s::UUID
AND tasks.status = %(status_1)s;

SELECT tasks.id, tasks.status, tasks.attempt, tasks.error_message
FROM tasks
WHERE tasks.id IN (%(id_1_1)s::UUID, …);

SET LOCAL lock_timeout = '500ms';

UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.worker_pid = %(worker_pid_1)s
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.worker_pid = %(worker_pid_1)s
AND limit_places.task_id = %(task_id_1)s::UUID
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

UPDATE worker_processes
SET stopped_at=clock_timestamp()
WHERE worker_processes.id = %(id_1)s::UUID;

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      active_key=%(param_7)s, held=%(param_8)s, claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s,
      due_at=%(param_11)s, turn=%(param_12)s, attached_bytes=(tasks.attached_bytes + %(param_13)s +
      coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_15)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.id = %(id_1)s::UUID
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
  SET status=%(param_3)s, status_reason=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      active_key=%(param_7)s, held=%(param_8)s, claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s,
      due_at=%(param_11)s, turn=%(param_12)s, attached_bytes=(tasks.attached_bytes + %(param_13)s +
      coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND (tasks.id, tasks.attempt) IN ((%(param_15_1_1)s, %(param_15_1_2)s), …)
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
  SET status=%(param_3)s, status_reason=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      active_key=%(param_7)s, held=%(param_8)s, claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s,
      due_at=%(param_11)s, turn=%(param_12)s, attached_bytes=(tasks.attached_bytes + %(param_13)s +
      coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
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
  SET status=%(param_3)s, status_reason=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      active_key=%(param_7)s, held=%(param_8)s, claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s,
      due_at=%(param_11)s, turn=%(param_12)s, attached_bytes=(tasks.attached_bytes + %(param_13)s +
      coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND (tasks.id NOT IN (%(id_1_1)s::UUID, …))
  AND tasks.id != %(id_2)s::UUID
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
  SET status=%(param_3)s, status_reason=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      active_key=%(param_7)s, held=%(param_8)s, claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s,
      due_at=%(param_11)s, turn=%(param_12)s, attached_bytes=(tasks.attached_bytes + %(param_13)s +
      coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
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
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_16)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.id = %(id_1)s::UUID
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

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=%(param_4)s, progress=%(param_5)s, progress_detail=%(param_6)s,
      error_fingerprint=%(param_7)s, active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN
      %(param_8)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_9)s END, claim_id=%(param_10)s::UUID,
      worker_pid=%(param_11)s, due_at=clock_timestamp(), turn=%(param_12)s, attached_bytes=(tasks.attached_bytes +
      %(param_13)s + coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=%(param_15)s
  WHERE tasks.status = %(status_1)s
  AND (tasks.id, tasks.attempt) IN ((%(param_16_1_1)s, %(param_16_1_2)s), …)
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

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=%(param_4)s, progress=%(param_5)s, progress_detail=%(param_6)s,
      error_fingerprint=%(param_7)s, active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN
      %(param_8)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_9)s END, claim_id=%(param_10)s::UUID,
      worker_pid=%(param_11)s, due_at=clock_timestamp(), turn=%(param_12)s, attached_bytes=(tasks.attached_bytes +
      %(param_13)s + coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=%(param_15)s
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
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

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=%(param_4)s, progress=%(param_5)s, progress_detail=%(param_6)s,
      error_fingerprint=%(param_7)s, active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN
      %(param_8)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_9)s END, claim_id=%(param_10)s::UUID,
      worker_pid=%(param_11)s, due_at=clock_timestamp(), turn=%(param_12)s, attached_bytes=(tasks.attached_bytes +
      %(param_13)s + coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=%(param_15)s
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND (tasks.id NOT IN (%(id_1_1)s::UUID, …))
  AND tasks.id != %(id_2)s::UUID
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

WITH moved AS (
  UPDATE tasks
  SET status=%(param_3)s, status_reason=%(param_4)s, progress=%(param_5)s, progress_detail=%(param_6)s,
      error_fingerprint=%(param_7)s, active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN
      %(param_8)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_9)s END, claim_id=%(param_10)s::UUID,
      worker_pid=%(param_11)s, due_at=clock_timestamp(), turn=%(param_12)s, attached_bytes=(tasks.attached_bytes +
      %(param_13)s + coalesce(octet_length(%(param_14)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=%(param_15)s
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
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

WITH moved AS (
  UPDATE tasks
  SET status=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_7)s AS TEXT), CAST(%(param_8)s AS TEXT)), 'UTF8')), 'hex'),
      32), active_key=%(param_9)s, held=%(param_10)s, claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s,
      failures=CASE WHEN (tasks.failures < tasks.max_attempts) THEN tasks.failures + %(failures_1)s ELSE
      tasks.max_attempts END, due_at=%(param_13)s, turn=%(param_14)s, attached_bytes=(tasks.attached_bytes +
      %(param_15)s + coalesce(octet_length(%(param_16)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_17)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.id = %(id_1)s::UUID
  AND tasks.cancel_requested_at IS NULL
  AND tasks.failures + %(failures_2)s >= tasks.max_attempts
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
  SET status=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_7)s AS TEXT), CAST(%(param_8)s AS TEXT)), 'UTF8')), 'hex'),
      32), active_key=%(param_9)s, held=%(param_10)s, claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s,
      failures=CASE WHEN (tasks.failures < tasks.max_attempts) THEN tasks.failures + %(failures_1)s ELSE
      tasks.max_attempts END, due_at=%(param_13)s, turn=%(param_14)s, attached_bytes=(tasks.attached_bytes +
      %(param_15)s + coalesce(octet_length(%(param_16)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.cancel_requested_at IS NULL
  AND tasks.failures + %(failures_2)s >= tasks.max_attempts
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
  SET status=%(param_4)s, error_type=%(param_5)s, error_message=CASE WHEN tasks.rerun_lost THEN %(param_6)s ELSE
      %(param_7)s END, error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_8)s AS TEXT), CAST(CASE WHEN tasks.rerun_lost THEN %(param_6)s
      ELSE %(param_7)s END AS TEXT)), 'UTF8')), 'hex'), 32), active_key=%(param_9)s, held=%(param_10)s,
      claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s, crashes=(tasks.crashes + %(crashes_1)s),
      due_at=%(param_13)s, turn=%(param_14)s, attached_bytes=(tasks.attached_bytes + %(param_15)s +
      coalesce(octet_length(%(param_16)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_17)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.id = %(id_1)s::UUID
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
  SET status=%(param_4)s, error_type=%(param_5)s, error_message=CASE WHEN tasks.rerun_lost THEN %(param_6)s ELSE
      %(param_7)s END, error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_8)s AS TEXT), CAST(CASE WHEN tasks.rerun_lost THEN %(param_6)s
      ELSE %(param_7)s END AS TEXT)), 'UTF8')), 'hex'), 32), active_key=%(param_9)s, held=%(param_10)s,
      claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s, crashes=(tasks.crashes + %(crashes_1)s),
      due_at=%(param_13)s, turn=%(param_14)s, attached_bytes=(tasks.attached_bytes + %(param_15)s +
      coalesce(octet_length(%(param_16)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND (tasks.id NOT IN (%(id_1_1)s::UUID, …))
  AND tasks.cancel_requested_at IS NULL
  AND NOT (tasks.rerun_lost
    AND tasks.crashes + %(crashes_2)s < %(param_17)s)
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
  SET status=%(param_4)s, error_type=%(param_5)s, error_message=CASE WHEN tasks.rerun_lost THEN %(param_6)s ELSE
      %(param_7)s END, error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_8)s AS TEXT), CAST(CASE WHEN tasks.rerun_lost THEN %(param_6)s
      ELSE %(param_7)s END AS TEXT)), 'UTF8')), 'hex'), 32), active_key=%(param_9)s, held=%(param_10)s,
      claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s, crashes=(tasks.crashes + %(crashes_1)s),
      due_at=%(param_13)s, turn=%(param_14)s, attached_bytes=(tasks.attached_bytes + %(param_15)s +
      coalesce(octet_length(%(param_16)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.cancel_requested_at IS NULL
  AND NOT (tasks.rerun_lost
    AND tasks.crashes + %(crashes_2)s < %(param_17)s)
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
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.id = %(id_1)s::UUID
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
  SET status=%(param_4)s, status_reason=%(param_5)s, error_type=%(param_6)s, error_message=%(param_7)s,
      active_key=%(param_8)s, held=%(param_9)s, claim_id=%(param_10)s::UUID, worker_pid=%(param_11)s,
      due_at=%(param_12)s, turn=%(param_13)s, attached_bytes=(tasks.attached_bytes + %(param_14)s +
      coalesce(octet_length(%(param_15)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND (tasks.id NOT IN (%(id_1_1)s::UUID, …))
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
  SET status=%(param_4)s, status_reason=%(param_5)s, error_type=%(param_6)s, error_message=%(param_7)s,
      active_key=%(param_8)s, held=%(param_9)s, claim_id=%(param_10)s::UUID, worker_pid=%(param_11)s,
      due_at=%(param_12)s, turn=%(param_13)s, attached_bytes=(tasks.attached_bytes + %(param_14)s +
      coalesce(octet_length(%(param_15)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
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
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.id = %(id_1)s::UUID
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

WITH moved AS (
  UPDATE tasks
  SET status=%(param_4)s, status_reason=%(param_5)s, progress=%(param_6)s, progress_detail=%(param_7)s,
      error_fingerprint=%(param_8)s, active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN
      %(param_9)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_10)s END, claim_id=%(param_11)s::UUID,
      worker_pid=%(param_12)s, crashes=(tasks.crashes + %(crashes_1)s), due_at=clock_timestamp(), turn=%(param_13)s,
      attached_bytes=(tasks.attached_bytes + %(param_14)s + coalesce(octet_length(%(param_15)s), %(coalesce_1)s)),
      version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(), finished_at=%(param_16)s
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND (tasks.id NOT IN (%(id_1_1)s::UUID, …))
  AND tasks.cancel_requested_at IS NULL
  AND tasks.rerun_lost
  AND tasks.crashes + %(crashes_2)s < %(param_17)s
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
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.cancel_requested_at IS NULL
  AND tasks.rerun_lost
  AND tasks.crashes + %(crashes_2)s < %(param_17)s
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
      error_type=%(param_8)s, error_message=%(param_9)s, error_fingerprint=%(param_10)s, run_at=(statement_timestamp() +
      coalesce(tasks.retry_backoff_seconds, %(coalesce_1)s) * interval '1 second'), active_key=tasks.unique_key,
      held=CASE WHEN (tasks.user_limited IS true) THEN %(param_11)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_12)s
      END, claim_id=%(param_13)s::UUID, worker_pid=%(param_14)s, failures=CASE WHEN (tasks.failures <
      tasks.max_attempts) THEN tasks.failures + %(failures_1)s ELSE tasks.max_attempts END,
      due_at=(statement_timestamp() + coalesce(tasks.retry_backoff_seconds, %(coalesce_1)s) * interval '1 second'),
      turn=%(param_15)s, attached_bytes=(tasks.attached_bytes + %(param_16)s + coalesce(octet_length(%(param_17)s),
      %(coalesce_2)s)), version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(), finished_at=%(param_18)s
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_19)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.id = %(id_1)s::UUID
  AND tasks.cancel_requested_at IS NULL
  AND tasks.failures + %(failures_2)s < tasks.max_attempts
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
      error_type=%(param_8)s, error_message=%(param_9)s, error_fingerprint=%(param_10)s, run_at=(statement_timestamp() +
      coalesce(tasks.retry_backoff_seconds, %(coalesce_1)s) * interval '1 second'), active_key=tasks.unique_key,
      held=CASE WHEN (tasks.user_limited IS true) THEN %(param_11)s WHEN (tasks."limit" IS NOT NULL) THEN %(param_12)s
      END, claim_id=%(param_13)s::UUID, worker_pid=%(param_14)s, failures=CASE WHEN (tasks.failures <
      tasks.max_attempts) THEN tasks.failures + %(failures_1)s ELSE tasks.max_attempts END,
      due_at=(statement_timestamp() + coalesce(tasks.retry_backoff_seconds, %(coalesce_1)s) * interval '1 second'),
      turn=%(param_15)s, attached_bytes=(tasks.attached_bytes + %(param_16)s + coalesce(octet_length(%(param_17)s),
      %(coalesce_2)s)), version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(), finished_at=%(param_18)s
  WHERE tasks.status = %(status_1)s
  AND tasks.worker_id = %(worker_id_1)s::UUID
  AND tasks.worker_pid = %(worker_pid_1)s
  AND tasks.cancel_requested_at IS NULL
  AND tasks.failures + %(failures_2)s < tasks.max_attempts
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
