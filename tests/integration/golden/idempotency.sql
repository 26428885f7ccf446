-- Written by `python -m tests.support.golden_sql --write`.

INSERT INTO idempotency_keys (user_id, key, fingerprint, task_id, task_ids, created_at)
SELECT %(user_id)s::UUID AS anon_1, %(key)s AS anon_2, %(fingerprint)s AS anon_3, %(task_id)s::UUID AS anon_4,
    %(task_ids)s AS anon_5, statement_timestamp() AS statement_timestamp_1
WHERE pg_try_advisory_xact_lock(%(lock)s)
ON CONFLICT (user_id, key)
DO UPDATE SET fingerprint = excluded.fingerprint, task_id = excluded.task_id, task_ids = excluded.task_ids, created_at =
    excluded.created_at
WHERE idempotency_keys.created_at <= statement_timestamp() - %(lifetime)s
RETURNING idempotency_keys.key;

SELECT CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures, tasks.queue, tasks.held) END,
    tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.max_attempts_named, tasks.rerun_lost, tasks.unique_key, tasks.on_conflict, tasks.active_key, tasks."limit",
    tasks.limit_key, tasks.retry_of, tasks.user_limited, tasks.held, tasks.attempt, tasks.claim_id, tasks.worker,
    tasks.worker_id, tasks.worker_pid, tasks.failures, tasks.crashes, tasks.celery_id, tasks.generation, tasks.due_at,
    tasks.turn, tasks.delete_requested_at, tasks.attached_bytes, tasks.version, tasks.created_at, tasks.updated_at,
    tasks.started_at, tasks.finished_at, tasks.cancel_requested_at
FROM tasks
WHERE tasks.id IN (NULL)
AND (1 != 1);

SELECT idempotency_keys.user_id, idempotency_keys.key, idempotency_keys.fingerprint, idempotency_keys.task_id,
    idempotency_keys.task_ids, idempotency_keys.created_at
FROM idempotency_keys
WHERE idempotency_keys.user_id = %(user_id_1)s::UUID
AND idempotency_keys.key = %(key_1)s
AND idempotency_keys.created_at > statement_timestamp() - %(statement_timestamp_1)s;

WITH batch AS (
  SELECT idempotency_keys.user_id AS user_id, idempotency_keys.key AS key
  FROM idempotency_keys
  WHERE idempotency_keys.created_at <= statement_timestamp() - %(statement_timestamp_1)s
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM idempotency_keys
WHERE (idempotency_keys.user_id, idempotency_keys.key) IN (
  SELECT batch.user_id, batch.key
  FROM batch)
AND idempotency_keys.created_at <= statement_timestamp() - %(statement_timestamp_1)s
RETURNING idempotency_keys.key;
