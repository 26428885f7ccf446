-- Written by `python -m tests.support.golden_sql --write`.

SELECT anon_1.id
FROM (
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.version AS version, tasks.updated_at AS updated_at
  FROM tasks
  WHERE tasks.user_id = ANY (%(users)s::UUID[])
  AND tasks.finished_at > %(since)s
  UNION ALL
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.version AS version, tasks.updated_at AS updated_at
  FROM tasks
  WHERE tasks.user_id = ANY (%(users)s::UUID[])
  AND tasks.status = %(status_1)s
  AND tasks.updated_at > %(since)s
  UNION ALL
  SELECT anon_2.id AS id, anon_2.user_id AS user_id, anon_2.version AS version, anon_2.updated_at AS updated_at
  FROM unnest(%(users)s::UUID[]) AS anon_3(id)
  JOIN LATERAL (
    SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.version AS version, tasks.updated_at AS updated_at
    FROM tasks
    WHERE tasks.user_id = anon_3.id
    ORDER BY tasks.id DESC
    LIMIT %(param_1)s) AS anon_2 ON true
  UNION ALL
  SELECT anon_4.id AS id, anon_4.user_id AS user_id, anon_4.version AS version, anon_4.updated_at AS updated_at
  FROM (
    SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.version AS version, tasks.updated_at AS updated_at
    FROM tasks
    WHERE tasks.user_id = %(user)s::UUID
    AND tasks.status = %(status_2)s
    ORDER BY tasks.id DESC
    LIMIT %(param_2)s) AS anon_4) AS anon_1
WHERE anon_1.updated_at > %(since)s
GROUP BY anon_1.id
ORDER BY max(anon_1.updated_at)
LIMIT %(limit)s;

SELECT anon_1.id, anon_1.user_id, anon_1.version
FROM (
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.version AS version, tasks.updated_at AS updated_at
  FROM tasks
  WHERE tasks.user_id = ANY (%(users)s::UUID[])
  AND tasks.finished_at > %(since)s
  UNION ALL
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.version AS version, tasks.updated_at AS updated_at
  FROM tasks
  WHERE tasks.user_id = ANY (%(users)s::UUID[])
  AND tasks.status = %(status_1)s
  AND tasks.updated_at > %(since)s
  UNION ALL
  SELECT anon_2.id AS id, anon_2.user_id AS user_id, anon_2.version AS version, anon_2.updated_at AS updated_at
  FROM unnest(%(users)s::UUID[]) AS anon_3(id)
  JOIN LATERAL (
    SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.version AS version, tasks.updated_at AS updated_at
    FROM tasks
    WHERE tasks.user_id = anon_3.id
    AND tasks.id > %(since_id)s::UUID
    ORDER BY tasks.id DESC
    LIMIT %(param_1)s) AS anon_2 ON true) AS anon_1
WHERE anon_1.updated_at > %(since)s;

SELECT anon_1.now, anon_2.id, anon_2.role
FROM (
  SELECT clock_timestamp() AS now) AS anon_1
LEFT OUTER JOIN (
  SELECT login_sessions.id AS id, users.role AS role
  FROM login_sessions
  JOIN users ON users.id = login_sessions.user_id
  WHERE login_sessions.revoked_at IS NULL
  AND login_sessions.expires_at > clock_timestamp()
  AND users.is_active
  AND login_sessions.id = ANY (%(sessions)s::UUID[])
  UNION ALL
  SELECT api_keys.id AS id, users.role AS role
  FROM api_keys
  JOIN users ON users.id = api_keys.user_id
  WHERE api_keys.revoked_at IS NULL
  AND (api_keys.expires_at IS NULL OR api_keys.expires_at > clock_timestamp())
  AND users.is_active
  AND api_keys.id = ANY (%(keys)s::UUID[])) AS anon_2 ON true;

SELECT tasks.id
FROM tasks
WHERE tasks.id = ANY (%(ids)s::UUID[]);

SELECT tasks.id
FROM tasks
WHERE tasks.id = ANY (%(ids)s::UUID[])
AND tasks.user_id = %(user_id_1)s::UUID;

SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, tasks.attached_bytes, CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at >
    statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
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
  AND (tasks.id = ANY (%(watched)s::UUID[]) OR tasks.user_id = ANY (%(users)s::UUID[]))) AS anon_1 ON anon_1.id =
      tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

SELECT tasks.id, tasks.version, tasks.attached_bytes
FROM tasks
WHERE tasks.id = ANY (%(ids)s::UUID[]);

SELECT tasks.status
FROM tasks
WHERE tasks.id = %(id_1)s::UUID;

SELECT tasks.status
FROM tasks
WHERE tasks.id = %(id_1)s::UUID
AND tasks.user_id = %(user_id_1)s::UUID;
