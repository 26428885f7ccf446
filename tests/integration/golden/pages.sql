-- Written by `python -m tests.support.golden_sql --write`.

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  WHERE tasks.id < %(id_1)s::UUID
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_totals.status AS status, task_totals.number AS number
  FROM task_totals
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  UNION ALL
  SELECT %(param_2)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.user_id, anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_totals.user_id AS user_id, task_totals.status AS status, task_totals.number AS number
  FROM task_totals
  WHERE task_totals.user_id = ANY ($1)
  UNION ALL
  SELECT task_count_changes.user_id AS user_id, task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = ANY ($1)
  UNION ALL
  SELECT tasks.user_id AS user_id, 'pending' AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = 'pending'
  AND tasks.user_id = ANY ($1)
  GROUP BY tasks.user_id
  UNION ALL
  SELECT tasks.user_id AS user_id, 'running' AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = 'running'
  AND tasks.user_id = ANY ($1)
  GROUP BY tasks.user_id) AS anon_1
GROUP BY anon_1.user_id, anon_1.status;

SELECT tasks.id, 1200 + coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
    coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
    coalesce(octet_length(tasks.error_message), 0) + coalesce(octet_length(tasks.name), 0) +
    coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
    coalesce(octet_length(tasks.depends_on), 0) + coalesce(octet_length(tasks.tags::text), 0) +
    coalesce(octet_length(tasks.metadata::text), 0) AS anon_1
FROM tasks
WHERE tasks.id = ANY (%(ids)s::UUID[]);

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.depends_on, tasks.retry_of,
    tasks.schedule_id, tasks.workflow_id, tasks.webhook_url, tasks.attempt, tasks.worker, tasks.celery_id,
    tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at, tasks.cancel_requested_at,
    (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT 1
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('dependency', 'limit', 'limit_key', 'user') THEN
        tasks.held ELSE 'ready' END END) AS waits
FROM tasks
WHERE tasks.id = ANY (%(ids)s::UUID[]);

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.depends_on, tasks.retry_of,
    tasks.schedule_id, tasks.workflow_id, tasks.webhook_url, tasks.attempt, tasks.worker, tasks.celery_id,
    tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at, tasks.cancel_requested_at,
    (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT 1
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('dependency', 'limit', 'limit_key', 'user') THEN
        tasks.held ELSE 'ready' END END) AS waits, 1200 + coalesce(octet_length(tasks.args), 0) +
        coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
        coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) +
        coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
        coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.depends_on), 0) +
        coalesce(octet_length(tasks.tags::text), 0) + coalesce(octet_length(tasks.metadata::text), 0) AS bytes
FROM (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.user_id BETWEEN $1::UUID
  AND $1::UUID
  AND tasks.id < $2::UUID
  ORDER BY tasks.user_id, tasks.id DESC
  LIMIT $3) AS anon_1
LEFT OUTER JOIN tasks ON tasks.id = anon_1.id
AND 0 + coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
    coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
    coalesce(octet_length(tasks.error_message), 0) <= 4096
ORDER BY anon_1.id DESC;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.depends_on, tasks.retry_of,
    tasks.schedule_id, tasks.workflow_id, tasks.webhook_url, tasks.attempt, tasks.worker, tasks.celery_id,
    tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at, tasks.cancel_requested_at,
    (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT 1
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('dependency', 'limit', 'limit_key', 'user') THEN
        tasks.held ELSE 'ready' END END) AS waits, 1200 + coalesce(octet_length(tasks.args), 0) +
        coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
        coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) +
        coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
        coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.depends_on), 0) +
        coalesce(octet_length(tasks.tags::text), 0) + coalesce(octet_length(tasks.metadata::text), 0) AS bytes
FROM (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.user_id BETWEEN $1::UUID
  AND $1::UUID
  AND tasks.status = $2
  ORDER BY tasks.user_id, tasks.id DESC
  LIMIT $3) AS anon_1
LEFT OUTER JOIN tasks ON tasks.id = anon_1.id
AND 0 + coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
    coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
    coalesce(octet_length(tasks.error_message), 0) <= 4096
ORDER BY anon_1.id DESC;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.depends_on, tasks.retry_of,
    tasks.schedule_id, tasks.workflow_id, tasks.webhook_url, tasks.attempt, tasks.worker, tasks.celery_id,
    tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at, tasks.cancel_requested_at,
    (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT 1
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('dependency', 'limit', 'limit_key', 'user') THEN
        tasks.held ELSE 'ready' END END) AS waits, 1200 + coalesce(octet_length(tasks.args), 0) +
        coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
        coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) +
        coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
        coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.depends_on), 0) +
        coalesce(octet_length(tasks.tags::text), 0) + coalesce(octet_length(tasks.metadata::text), 0) AS bytes
FROM (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.user_id BETWEEN $1::UUID
  AND $1::UUID
  ORDER BY tasks.user_id, tasks.id DESC
  LIMIT $2) AS anon_1
LEFT OUTER JOIN tasks ON tasks.id = anon_1.id
AND 0 + coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
    coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
    coalesce(octet_length(tasks.error_message), 0) <= 4096
ORDER BY anon_1.id DESC;
