-- Written by `python -m tests.support.golden_sql --write`.

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.depends_on, tasks.retry_of,
    tasks.schedule_id, tasks.workflow_id, tasks.webhook_url, tasks.attempt, tasks.worker, tasks.celery_id,
    tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at, tasks.cancel_requested_at,
    CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures, tasks.queue, tasks.held) END AS
    waits
FROM tasks
WHERE tasks.id = ANY (%(ids)s::UUID[])
AND 0 + coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
    coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
    coalesce(octet_length(tasks.error_message), 0) <= %(param_1)s;
