-- Written by `python -m tests.support.golden_sql --write`.

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
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.user_id = %(user_id_1)s::UUID
AND tasks.created_at > %(created_at_1)s
AND tasks.created_at < %(created_at_2)s
AND tasks.id >= (
  SELECT CASE WHEN (EXISTS (
      SELECT other.id
      FROM tasks AS other
      WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
        AND interval '1 minute') IS NOT TRUE
      AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_1)
AND tasks.id <= (
  SELECT CASE WHEN (EXISTS (
      SELECT other.id
      FROM tasks AS other
      WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
        AND interval '1 minute') IS NOT TRUE
      AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_3)s::UUID ELSE %(param_4)s::UUID END AS anon_2)
ORDER BY tasks.id DESC;

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
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.user_id = %(user_id_1)s::UUID
AND tasks.queue = %(queue_1)s
ORDER BY tasks.id DESC;

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
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.user_id = %(user_id_1)s::UUID
AND tasks.status IN (%(status_1_1)s, …)
ORDER BY tasks.id DESC;

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
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.user_id = %(user_id_1)s::UUID
ORDER BY tasks.id DESC;

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
WHERE tasks.status = %(status_1)s
AND tasks.user_id = %(user_id_1)s::UUID
ORDER BY tasks.started_at, tasks.id
LIMIT %(param_1)s;

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
WHERE tasks.status = %(status_1)s
ORDER BY tasks.started_at, tasks.id
LIMIT %(param_1)s;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT anon_3.id AS id, anon_3.fits AS fits, anon_3.is_edge AS is_edge
    FROM (
      SELECT tasks.id AS id, (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/') AS fits, row_number() OVER (
        ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
      FROM tasks
      ORDER BY tasks.id DESC
      LIMIT %(param_2)s) AS anon_3
    WHERE anon_3.fits OR anon_3.is_edge
    ORDER BY anon_3.id DESC
    LIMIT %(param_3)s) AS anon_2) AS anon_1
ORDER BY anon_1.id DESC
LIMIT %(param_4)s
OFFSET %(param_5)s;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT anon_3.id AS id, anon_3.fits AS fits, anon_3.is_edge AS is_edge
    FROM (
      SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s AS fits, row_number() OVER (
        ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
      FROM tasks
      WHERE tasks.user_id = %(user_id_1)s::UUID
      AND tasks.status = %(status_1)s
      ORDER BY tasks.id DESC
      LIMIT %(param_2)s) AS anon_3
    WHERE anon_3.fits OR anon_3.is_edge
    ORDER BY anon_3.id DESC
    LIMIT %(param_3)s) AS anon_2
  UNION ALL
  SELECT anon_4.id AS id, anon_4.fits AS fits, anon_4.is_edge AS is_edge
  FROM (
    SELECT anon_5.id AS id, anon_5.fits AS fits, anon_5.is_edge AS is_edge
    FROM (
      SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s AS fits, row_number() OVER (
        ORDER BY tasks.id DESC) = %(param_4)s AS is_edge
      FROM tasks
      WHERE tasks.user_id = %(user_id_1)s::UUID
      AND tasks.status = %(status_2)s
      ORDER BY tasks.id DESC
      LIMIT %(param_5)s) AS anon_5
    WHERE anon_5.fits OR anon_5.is_edge
    ORDER BY anon_5.id DESC
    LIMIT %(param_6)s) AS anon_4
  UNION ALL
  SELECT of_kind.id AS id, of_kind.fits AS fits, of_kind.is_edge AS is_edge
  FROM (
    SELECT anon_6.kind AS kind
    FROM (
      SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue,
          0) AS kind
      FROM task_counts
      WHERE task_counts.user_id = %(user_id_2)s::UUID
      AND task_counts.task_type = %(task_type_2)s) AS anon_6
    UNION
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_count_changes
    WHERE task_count_changes.user_id = %(user_id_3)s::UUID
    AND task_count_changes.task_type = %(task_type_3)s) AS kinds
  JOIN LATERAL (
    SELECT anon_7.id AS id, anon_7.fits AS fits, anon_7.is_edge AS is_edge
    FROM (
      SELECT tasks.id AS id, true AS fits, %(param_7)s AS is_edge
      FROM tasks
      WHERE tasks.user_id = %(user_id_1)s::UUID
      AND tasks.finished_at IS NOT NULL
      AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
          = kinds.kind
      ORDER BY tasks.id DESC
      LIMIT %(param_8)s) AS anon_7) AS of_kind ON true) AS anon_1
ORDER BY anon_1.id DESC
LIMIT %(param_9)s
OFFSET %(param_10)s;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/') AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, (tasks.tags @> %(tags_1)s::TEXT[])
    AND tasks.tags != '{}'
    AND (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/') AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, (tasks.tags @> %(tags_1)s::TEXT[])
    AND tasks.tags != '{}'
    AND (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/') AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, (tasks.tags @> %(tags_1)s::TEXT[])
    AND tasks.tags != '{}' AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.celery_task_name = %(celery_task_name_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1
UNION ALL
SELECT anon_3.id, anon_3.fits, anon_3.is_edge
FROM (
  SELECT anon_4.id AS id, anon_4.fits AS fits, anon_4.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.celery_task_name = %(celery_task_name_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_4)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_5)s) AS anon_4
  WHERE anon_4.fits OR anon_4.is_edge
  ORDER BY anon_4.id DESC
  LIMIT %(param_6)s) AS anon_3
UNION ALL
SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_5.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_2)s::UUID
    AND task_counts.celery_task_name = %(celery_task_name_2)s) AS anon_5
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_3)s::UUID
  AND task_count_changes.celery_task_name = %(celery_task_name_3)s) AS kinds
JOIN LATERAL (
  SELECT anon_6.id AS id, anon_6.fits AS fits, anon_6.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_7)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.finished_at IS NOT NULL
    AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) =
        kinds.kind
    ORDER BY tasks.id DESC
    LIMIT %(param_8)s) AS anon_6) AS of_kind ON true;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at < %(created_at_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_4)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_5)s) AS anon_1
UNION ALL
SELECT anon_4.id, anon_4.fits, anon_4.is_edge
FROM (
  SELECT anon_5.id AS id, anon_5.fits AS fits, anon_5.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at < %(created_at_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_6)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_7)s) AS anon_5
  WHERE anon_5.fits OR anon_5.is_edge
  ORDER BY anon_5.id DESC
  LIMIT %(param_8)s) AS anon_4;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at < %(created_at_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    ORDER BY tasks.id DESC
    LIMIT %(param_4)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_5)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at > %(created_at_1)s
    AND tasks.created_at < %(created_at_2)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_4)
    ORDER BY tasks.id DESC
    LIMIT %(param_6)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_7)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at > %(created_at_1)s
    AND tasks.created_at < %(created_at_2)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_4)
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_6)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_7)s) AS anon_1
UNION ALL
SELECT anon_5.id, anon_5.fits, anon_5.is_edge
FROM (
  SELECT anon_6.id AS id, anon_6.fits AS fits, anon_6.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at > %(created_at_1)s
    AND tasks.created_at < %(created_at_2)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_8)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_4)
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_9)s) AS anon_6
  WHERE anon_6.fits OR anon_6.is_edge
  ORDER BY anon_6.id DESC
  LIMIT %(param_10)s) AS anon_5;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at > %(created_at_1)s
    AND tasks.created_at < %(created_at_2)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_4)
    ORDER BY tasks.id DESC
    LIMIT %(param_6)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_7)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at > %(created_at_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_4)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_5)s) AS anon_1
UNION ALL
SELECT anon_4.id, anon_4.fits, anon_4.is_edge
FROM (
  SELECT anon_5.id AS id, anon_5.fits AS fits, anon_5.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at > %(created_at_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_6)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_7)s) AS anon_5
  WHERE anon_5.fits OR anon_5.is_edge
  ORDER BY anon_5.id DESC
  LIMIT %(param_8)s) AS anon_4;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.created_at > %(created_at_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    ORDER BY tasks.id DESC
    LIMIT %(param_4)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_5)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.error_fingerprint = %(error_fingerprint_1)s
    AND (
      SELECT other.user_id
      FROM tasks AS other
      WHERE other.error_fingerprint = %(error_fingerprint_2)s
      ORDER BY other.id DESC
      LIMIT %(param_1)s) = %(param_2)s::UUID AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_3)s AS is_edge
    FROM tasks
    WHERE tasks.error_fingerprint = %(error_fingerprint_3)s
    AND (
      SELECT other.user_id
      FROM tasks AS other
      WHERE other.error_fingerprint = %(error_fingerprint_4)s
      ORDER BY other.id DESC
      LIMIT %(param_4)s) = %(param_5)s::UUID
    ORDER BY tasks.id DESC
    LIMIT %(param_6)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_7)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.error_fingerprint = %(error_fingerprint_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.error_fingerprint = %(error_fingerprint_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.priority = %(priority_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1
UNION ALL
SELECT anon_3.id, anon_3.fits, anon_3.is_edge
FROM (
  SELECT anon_4.id AS id, anon_4.fits AS fits, anon_4.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.priority = %(priority_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_4)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_5)s) AS anon_4
  WHERE anon_4.fits OR anon_4.is_edge
  ORDER BY anon_4.id DESC
  LIMIT %(param_6)s) AS anon_3
UNION ALL
SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_5.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_2)s::UUID
    AND task_counts.priority = %(priority_2)s) AS anon_5
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_3)s::UUID
  AND task_count_changes.priority = %(priority_3)s) AS kinds
JOIN LATERAL (
  SELECT anon_6.id AS id, anon_6.fits AS fits, anon_6.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_7)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.finished_at IS NOT NULL
    AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) =
        kinds.kind
    ORDER BY tasks.id DESC
    LIMIT %(param_8)s) AS anon_6) AS of_kind ON true;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.queue = %(queue_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.queue = %(queue_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1
UNION ALL
SELECT anon_3.id, anon_3.fits, anon_3.is_edge
FROM (
  SELECT anon_4.id AS id, anon_4.fits AS fits, anon_4.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.queue = %(queue_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_4)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_5)s) AS anon_4
  WHERE anon_4.fits OR anon_4.is_edge
  ORDER BY anon_4.id DESC
  LIMIT %(param_6)s) AS anon_3
UNION ALL
SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_5.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_2)s::UUID
    AND task_counts.queue = %(queue_2)s) AS anon_5
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_3)s::UUID
  AND task_count_changes.queue = %(queue_3)s) AS kinds
JOIN LATERAL (
  SELECT anon_6.id AS id, anon_6.fits AS fits, anon_6.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_7)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.finished_at IS NOT NULL
    AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) =
        kinds.kind
    ORDER BY tasks.id DESC
    LIMIT %(param_8)s) AS anon_6) AS of_kind ON true;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.status = %(status_1)s
    AND CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
        tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
        SELECT
        FROM claim_holds AS hold
        WHERE hold.kind = 'queue'
        AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held
            ELSE 'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
      AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s
          THEN %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN
          tasks.run_at > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN
          EXISTS (
        SELECT
        FROM claim_holds AS hold
        WHERE hold.kind = 'queue'
        AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held
            ELSE 'ready' END END) END = %(param_10)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_11)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_12)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_13)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.status IN (%(status_1_1)s, …)
    AND tasks.status = %(status_2)s
    AND CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
        tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
        SELECT
        FROM claim_holds AS hold
        WHERE hold.kind = 'queue'
        AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held
            ELSE 'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
      AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s
          THEN %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN
          tasks.run_at > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN
          EXISTS (
        SELECT
        FROM claim_holds AS hold
        WHERE hold.kind = 'queue'
        AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held
            ELSE 'ready' END END) END = %(param_10)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_11)s AS is_edge
    FROM tasks
    ORDER BY tasks.id DESC
    LIMIT %(param_12)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_13)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.status IN (%(status_1_1)s, …) AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s
    AND tasks.celery_task_name = %(celery_task_name_1)s
    AND tasks.priority = %(priority_1)s
    AND tasks.queue = %(queue_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s
    AND tasks.created_at > %(created_at_1)s
    AND tasks.created_at < %(created_at_2)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_4)
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_6)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_7)s) AS anon_1
UNION ALL
SELECT anon_5.id, anon_5.fits, anon_5.is_edge
FROM (
  SELECT anon_6.id AS id, anon_6.fits AS fits, anon_6.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s
    AND tasks.created_at > %(created_at_1)s
    AND tasks.created_at < %(created_at_2)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_8)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id >= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
    AND tasks.id <= (
      SELECT CASE WHEN (EXISTS (
          SELECT other.id
          FROM tasks AS other
          WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
            AND interval '1 minute') IS NOT TRUE
          AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_4)
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_9)s) AS anon_6
  WHERE anon_6.fits OR anon_6.is_edge
  ORDER BY anon_6.id DESC
  LIMIT %(param_10)s) AS anon_5
UNION ALL
SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_7.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_4)s::UUID
    AND task_counts.task_type = %(task_type_2)s) AS anon_7
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_5)s::UUID
  AND task_count_changes.task_type = %(task_type_3)s) AS kinds
JOIN LATERAL (
  SELECT anon_8.id AS id, anon_8.fits AS fits, anon_8.is_edge AS is_edge
  FROM (
    SELECT anon_9.id AS id, anon_9.fits AS fits, anon_9.is_edge AS is_edge
    FROM (
      SELECT tasks.id AS id, tasks.created_at > %(created_at_3)s
      AND tasks.created_at < %(created_at_4)s AS fits, row_number() OVER (
        ORDER BY tasks.id DESC) = %(param_11)s AS is_edge
      FROM tasks
      WHERE tasks.user_id = %(user_id_1)s::UUID
      AND tasks.id >= (
        SELECT CASE WHEN (EXISTS (
            SELECT other.id
            FROM tasks AS other
            WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
              AND interval '1 minute') IS NOT TRUE
            AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_3)
      AND tasks.id <= (
        SELECT CASE WHEN (EXISTS (
            SELECT other.id
            FROM tasks AS other
            WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
              AND interval '1 minute') IS NOT TRUE
            AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_4)
      AND tasks.finished_at IS NOT NULL
      AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
          = kinds.kind
      ORDER BY tasks.id DESC
      LIMIT %(param_12)s) AS anon_9
    WHERE anon_9.fits OR anon_9.is_edge
    ORDER BY anon_9.id DESC
    LIMIT %(param_13)s) AS anon_8) AS of_kind ON true;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s
    AND tasks.error_fingerprint = %(error_fingerprint_1)s
    AND (
      SELECT other.user_id
      FROM tasks AS other
      WHERE other.error_fingerprint = %(error_fingerprint_2)s
      ORDER BY other.id DESC
      LIMIT %(param_1)s) = %(param_2)s::UUID AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_3)s AS is_edge
    FROM tasks
    WHERE tasks.error_fingerprint = %(error_fingerprint_3)s
    AND (
      SELECT other.user_id
      FROM tasks AS other
      WHERE other.error_fingerprint = %(error_fingerprint_4)s
      ORDER BY other.id DESC
      LIMIT %(param_4)s) = %(param_5)s::UUID
    ORDER BY tasks.id DESC
    LIMIT %(param_6)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_7)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id < %(id_1)s::UUID
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1
UNION ALL
SELECT anon_3.id, anon_3.fits, anon_3.is_edge
FROM (
  SELECT anon_4.id AS id, anon_4.fits AS fits, anon_4.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_4)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id < %(id_1)s::UUID
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_5)s) AS anon_4
  WHERE anon_4.fits OR anon_4.is_edge
  ORDER BY anon_4.id DESC
  LIMIT %(param_6)s) AS anon_3
UNION ALL
SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_5.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_2)s::UUID
    AND task_counts.task_type = %(task_type_2)s) AS anon_5
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_3)s::UUID
  AND task_count_changes.task_type = %(task_type_3)s) AS kinds
JOIN LATERAL (
  SELECT anon_6.id AS id, anon_6.fits AS fits, anon_6.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_7)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.id < %(id_1)s::UUID
    AND tasks.finished_at IS NOT NULL
    AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) =
        kinds.kind
    ORDER BY tasks.id DESC
    LIMIT %(param_8)s) AS anon_6) AS of_kind ON true;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_1)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2
  WHERE anon_2.fits OR anon_2.is_edge
  ORDER BY anon_2.id DESC
  LIMIT %(param_3)s) AS anon_1
UNION ALL
SELECT anon_3.id, anon_3.fits, anon_3.is_edge
FROM (
  SELECT anon_4.id AS id, anon_4.fits AS fits, anon_4.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, tasks.task_type = %(task_type_1)s AS fits, row_number() OVER (
      ORDER BY tasks.id DESC) = %(param_4)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_5)s) AS anon_4
  WHERE anon_4.fits OR anon_4.is_edge
  ORDER BY anon_4.id DESC
  LIMIT %(param_6)s) AS anon_3
UNION ALL
SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_5.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_2)s::UUID
    AND task_counts.task_type = %(task_type_2)s) AS anon_5
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_3)s::UUID
  AND task_count_changes.task_type = %(task_type_3)s) AS kinds
JOIN LATERAL (
  SELECT anon_6.id AS id, anon_6.fits AS fits, anon_6.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_7)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    AND tasks.finished_at IS NOT NULL
    AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) =
        kinds.kind
    ORDER BY tasks.id DESC
    LIMIT %(param_8)s) AS anon_6) AS of_kind ON true;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
    FROM tasks
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2) AS anon_1
ORDER BY anon_1.id DESC
LIMIT %(param_3)s
OFFSET %(param_4)s;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_1)s::UUID
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2) AS anon_1
ORDER BY anon_1.id DESC
LIMIT %(param_3)s
OFFSET %(param_4)s;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  WHERE tasks.id < %(id_1)s::UUID
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  AND tasks.id < %(id_1)s::UUID
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  AND tasks.status = %(status_1)s
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1
UNION ALL
SELECT anon_2.id, anon_2.fits, anon_2.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_3)s AS is_edge
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  AND tasks.status = %(status_2)s
  ORDER BY tasks.id DESC
  LIMIT %(param_4)s) AS anon_2;

SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1;

SELECT anon_1.kind
FROM (
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.celery_task_name = %(celery_task_name_1)s
  LIMIT %(param_1)s) AS anon_1
UNION
SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) AS
    kind
FROM task_count_changes
WHERE task_count_changes.user_id = %(user_id_2)s::UUID
AND task_count_changes.celery_task_name = %(celery_task_name_2)s
LIMIT %(param_2)s;

SELECT anon_1.kind
FROM (
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.priority = %(priority_1)s
  LIMIT %(param_1)s) AS anon_1
UNION
SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) AS
    kind
FROM task_count_changes
WHERE task_count_changes.user_id = %(user_id_2)s::UUID
AND task_count_changes.priority = %(priority_2)s
LIMIT %(param_2)s;

SELECT anon_1.kind
FROM (
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.queue = %(queue_1)s
  LIMIT %(param_1)s) AS anon_1
UNION
SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) AS
    kind
FROM task_count_changes
WHERE task_count_changes.user_id = %(user_id_2)s::UUID
AND task_count_changes.queue = %(queue_2)s
LIMIT %(param_2)s;

SELECT anon_1.kind
FROM (
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.task_type = %(task_type_1)s
  AND task_counts.celery_task_name = %(celery_task_name_1)s
  AND task_counts.priority = %(priority_1)s
  AND task_counts.queue = %(queue_1)s
  AND task_counts.status IN (%(status_1_1)s, …)
  LIMIT %(param_1)s) AS anon_1
UNION
SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) AS
    kind
FROM task_count_changes
WHERE task_count_changes.user_id = %(user_id_2)s::UUID
AND task_count_changes.task_type = %(task_type_2)s
AND task_count_changes.celery_task_name = %(celery_task_name_2)s
AND task_count_changes.priority = %(priority_2)s
AND task_count_changes.queue = %(queue_2)s
AND task_count_changes.status IN (%(status_2_1)s, …)
LIMIT %(param_2)s;

SELECT anon_1.kind
FROM (
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.task_type = %(task_type_1)s
  AND task_counts.status IN (%(status_1_1)s, …)
  LIMIT %(param_1)s) AS anon_1
UNION
SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) AS
    kind
FROM task_count_changes
WHERE task_count_changes.user_id = %(user_id_2)s::UUID
AND task_count_changes.task_type = %(task_type_2)s
AND task_count_changes.status IN (%(status_2_1)s, …)
LIMIT %(param_2)s;

SELECT anon_1.kind
FROM (
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.task_type = %(task_type_1)s
  LIMIT %(param_1)s) AS anon_1
UNION
SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) AS
    kind
FROM task_count_changes
WHERE task_count_changes.user_id = %(user_id_2)s::UUID
AND task_count_changes.task_type = %(task_type_2)s
LIMIT %(param_2)s;

SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_1.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_1)s::UUID
    AND task_counts.task_type = %(task_type_1)s
    AND task_counts.celery_task_name = %(celery_task_name_1)s
    AND task_counts.priority = %(priority_1)s
    AND task_counts.queue = %(queue_1)s
    AND task_counts.status IN (%(status_1_1)s, …)) AS anon_1
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.task_type = %(task_type_2)s
  AND task_count_changes.celery_task_name = %(celery_task_name_2)s
  AND task_count_changes.priority = %(priority_2)s
  AND task_count_changes.queue = %(queue_2)s
  AND task_count_changes.status IN (%(status_2_1)s, …)) AS kinds
JOIN LATERAL (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
    FROM tasks
    WHERE tasks.user_id = %(user_id_3)s::UUID
    AND tasks.finished_at IS NOT NULL
    AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0) =
        kinds.kind
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_2) AS of_kind ON true;

SELECT of_kind.id, of_kind.fits, of_kind.is_edge
FROM (
  SELECT anon_1.kind AS kind
  FROM (
    SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
        AS kind
    FROM task_counts
    WHERE task_counts.user_id = %(user_id_1)s::UUID
    AND task_counts.task_type = %(task_type_1)s
    AND task_counts.status IN (%(status_1_1)s, …)) AS anon_1
  UNION
  SELECT hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
      AS kind
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.task_type = %(task_type_2)s
  AND task_count_changes.status IN (%(status_2_1)s, …)) AS kinds
JOIN LATERAL (
  SELECT anon_2.id AS id, anon_2.fits AS fits, anon_2.is_edge AS is_edge
  FROM (
    SELECT anon_3.id AS id, anon_3.fits AS fits, anon_3.is_edge AS is_edge
    FROM (
      SELECT tasks.id AS id, (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/') AS fits, row_number() OVER (
        ORDER BY tasks.id DESC) = %(param_1)s AS is_edge
      FROM tasks
      WHERE tasks.user_id = %(user_id_3)s::UUID
      AND tasks.finished_at IS NOT NULL
      AND hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)
          = kinds.kind
      ORDER BY tasks.id DESC
      LIMIT %(param_2)s) AS anon_3
    WHERE anon_3.fits OR anon_3.is_edge
    ORDER BY anon_3.id DESC
    LIMIT %(param_3)s) AS anon_2) AS of_kind ON true;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.celery_task_name = %(celery_task_name_1)s) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.created_at < %(created_at_1)s
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_2)) AS anon_1
              ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.created_at > %(created_at_1)s
  AND tasks.created_at < %(created_at_2)s
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_2)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_3)s::UUID ELSE %(param_4)s::UUID END AS anon_3)) AS anon_1
              ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.created_at > %(created_at_1)s
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_2)) AS anon_1
              ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.priority = %(priority_1)s) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.queue = %(queue_1)s) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.status IN (%(status_1_1)s, …)
  AND tasks.created_at < %(created_at_1)s
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_2)) AS anon_1
              ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.status IN (%(status_1_1)s, …)
  AND tasks.created_at > %(created_at_1)s
  AND tasks.created_at < %(created_at_2)s
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_2)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_3)s::UUID ELSE %(param_4)s::UUID END AS anon_3)) AS anon_1
              ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.status IN (%(status_1_1)s, …)
  AND tasks.created_at > %(created_at_1)s
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_2)) AS anon_1
              ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.status IN (%(status_1_1)s, …)
  AND tasks.status = %(status_2)s
  AND CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
      tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
      SELECT
      FROM claim_holds AS hold
      WHERE hold.kind = 'queue'
      AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
          'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
    AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s THEN
        %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN
        tasks.run_at > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN
        EXISTS (
      SELECT
      FROM claim_holds AS hold
      WHERE hold.kind = 'queue'
      AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
          'ready' END END) END = %(param_10)s) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.status IN (%(status_1_1)s, …)
  AND tasks.task_type = %(task_type_1)s
  AND tasks.celery_task_name = %(celery_task_name_1)s
  AND tasks.priority = %(priority_1)s
  AND tasks.queue = %(queue_1)s) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.task_type = %(task_type_1)s
  AND tasks.created_at > %(created_at_1)s
  AND tasks.created_at < %(created_at_2)s
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_2)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE)) THEN %(param_3)s::UUID ELSE %(param_4)s::UUID END AS anon_3)) AS anon_1
              ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp()
    THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
  SELECT
  FROM claim_holds AS hold
  WHERE hold.kind = 'queue'
  AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
      'ready' END END AS waits, anon_1.number
FROM tasks
JOIN (
  SELECT tasks.id AS id, 1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
      coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
      pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END
      + CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END AS bytes, sum(1200 + coalesce(octet_length(tasks.name), 0) +
      coalesce(octet_length(tasks.task_type), 0) + coalesce(octet_length(tasks.unique_key), 0) +
      coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
      coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
      coalesce(octet_length(tasks.error_message), 0) + CASE WHEN pg_column_compression(tasks.tags) IS NULL THEN
      pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END + CASE WHEN
      pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
      octet_length(tasks.metadata::text) END) OVER (
    ORDER BY array_position(%(ids)s::UUID[], tasks.id)) AS through, array_position(%(ids)s::UUID[], tasks.id) AS place,
        count(*) OVER () AS number
  FROM tasks
  WHERE tasks.id = ANY (%(ids)s::UUID[])
  AND tasks.task_type = %(task_type_1)s) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;
