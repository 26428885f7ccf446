-- Written by `python -m tests.support.golden_sql --write`.

SELECT tasks.cancel_requested_at
FROM tasks
WHERE tasks.id = $1::UUID
AND tasks.attempt = $2
AND (CAST(tasks.status AS TEXT) || '') = 'running';

SET LOCAL enable_seqscan = 'off';
SET LOCAL enable_hashjoin = 'off';
SET LOCAL enable_mergejoin = 'off';
SET LOCAL lock_timeout = '200ms';
UPDATE tasks
SET status='succeeded', progress=100, result=ended.result, active_key=NULL, held=NULL, claim_id=NULL::UUID,
    worker_pid=NULL, due_at=NULL, turn=NULL, version=(tasks.version + 1), updated_at=clock_timestamp(),
    started_at=(tasks.started_at + ended.begun_after * interval '1 second'), finished_at=clock_timestamp()
FROM json_to_recordset(CAST($1 AS JSON)) AS ended(task_id UUID, attempt INTEGER, result TEXT, begun_after FLOAT)
WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
AND tasks.id = ended.task_id
AND tasks.attempt = ended.attempt
RETURNING tasks.id;

UPDATE tasks
SET progress=coalesce($1, tasks.progress), progress_detail=coalesce($2, tasks.progress_detail), version=(tasks.version +
    1), updated_at=clock_timestamp()
WHERE tasks.id = $3::UUID
AND tasks.attempt = $4
AND (CAST(tasks.status AS TEXT) || '') = 'running'
RETURNING tasks.cancel_requested_at;

UPDATE tasks
SET status='succeeded', progress=100, result=$1, active_key=NULL, held=NULL, claim_id=NULL::UUID, worker_pid=NULL,
    due_at=NULL, turn=NULL, version=(tasks.version + 1), updated_at=clock_timestamp(), started_at=(tasks.started_at + $2
    * interval '1 second'), finished_at=clock_timestamp()
WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
AND tasks.id = $3::UUID
AND tasks.attempt = $4
RETURNING tasks.id;

WITH moved AS (
  UPDATE tasks
  SET args=coalesce($4, tasks.args), kwargs=coalesce($5, tasks.kwargs), status='pending', status_reason=NULL,
      progress=0, progress_detail=NULL, error_type=$1, error_message=$2, error_fingerprint=NULL,
      run_at=(statement_timestamp() + $6 * interval '1 second'), max_attempts=greatest(tasks.max_attempts,
      tasks.failures + 2), active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN 'user' WHEN
      (tasks."limit" IS NOT NULL) THEN 'limit' END, claim_id=NULL::UUID, worker_pid=NULL, failures=(tasks.failures + 1),
      due_at=(statement_timestamp() + $6 * interval '1 second'), turn=NULL, attached_bytes=(tasks.attached_bytes + 256 +
      coalesce(octet_length($2), 0) + coalesce(octet_length($3), 0)), version=(tasks.version + 1),
      updated_at=clock_timestamp(), started_at=(tasks.started_at + $7 * interval '1 second'), finished_at=NULL
  WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
  AND tasks.id = $8::UUID
  AND tasks.attempt = $9
  AND tasks.cancel_requested_at IS NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, 'retried' AS anon_1, $1 AS anon_2, $2 AS anon_3, $3 AS anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status='failed', error_type=$1, error_message=$2,
      error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST($1 AS TEXT), CAST($4 AS TEXT)), 'UTF8')), 'hex'), 32), active_key=NULL,
      held=NULL, claim_id=NULL::UUID, worker_pid=NULL, failures=least(tasks.failures + 1, tasks.max_attempts),
      due_at=NULL, turn=NULL, attached_bytes=(tasks.attached_bytes + 256 + coalesce(octet_length($2), 0) +
      coalesce(octet_length($3), 0)), version=(tasks.version + 1), updated_at=clock_timestamp(),
      started_at=(tasks.started_at + $5 * interval '1 second'), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
  AND tasks.id = $6::UUID
  AND tasks.attempt = $7
  AND tasks.cancel_requested_at IS NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, 'failed' AS anon_1, $1 AS anon_2, $2 AS anon_3, $3 AS anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status='pending', status_reason=NULL, progress=0, progress_detail=NULL, error_fingerprint=NULL,
      active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN 'user' WHEN (tasks."limit" IS NOT
      NULL) THEN 'limit' END, claim_id=NULL::UUID, worker_pid=NULL, due_at=clock_timestamp(), turn=NULL,
      attached_bytes=(tasks.attached_bytes + 256 + coalesce(octet_length($1), 0)), version=(tasks.version + 1),
      updated_at=clock_timestamp(), started_at=(tasks.started_at + $2 * interval '1 second'), finished_at=NULL
  WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
  AND tasks.id = $3::UUID
  AND tasks.attempt = $4
  AND tasks.cancel_requested_at IS NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, 'handed_back' AS anon_1, NULL AS anon_2, $1 AS anon_3, NULL AS anon__1
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status='revoked', status_reason=$1, error_type=NULL, error_message=NULL, active_key=NULL, held=NULL,
      claim_id=NULL::UUID, worker_pid=NULL, due_at=NULL, turn=NULL, attached_bytes=(tasks.attached_bytes + 256 +
      coalesce(octet_length($1), 0)), version=(tasks.version + 1), updated_at=clock_timestamp(),
      started_at=(tasks.started_at + $2 * interval '1 second'), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
  AND tasks.id = $3::UUID
  AND tasks.attempt = $4
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, 'revoked' AS anon_1, NULL AS anon_2, $1 AS anon_3, NULL AS anon__1
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

WITH moved AS (
  UPDATE tasks
  SET status='revoked', status_reason='cancelled', error_type=NULL, error_message=NULL, active_key=NULL, held=NULL,
      claim_id=NULL::UUID, worker_pid=NULL, due_at=NULL, turn=NULL, attached_bytes=(tasks.attached_bytes + 256 +
      coalesce(octet_length($2), 0) + coalesce(octet_length($3), 0)), version=(tasks.version + 1),
      updated_at=clock_timestamp(), started_at=(tasks.started_at + $4 * interval '1 second'),
      finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = 'running'
  AND tasks.id = $5::UUID
  AND tasks.attempt = $6
  AND tasks.cancel_requested_at IS NOT NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, 'revoked' AS anon_1, $1 AS anon_2, $2 AS anon_3, $3 AS anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;
