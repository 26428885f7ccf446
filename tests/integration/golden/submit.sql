-- Written by `python -m tests.support.golden_sql --write`.

INSERT INTO audit_events (id, event, origin, actor_id, actor_name, object_kind, object_id, address, request_id, detail)
VALUES (%(id)s::UUID, %(event)s, %(origin)s, %(actor_id)s::UUID, %(actor_name)s, %(object_kind)s, %(object_id)s,
    %(address)s, %(request_id)s, %(detail)s);

SELECT anon_1.tasks, anon_1.bytes, anon_1.stored, anon_2.tasks AS tasks_1, anon_2.seconds, (
  SELECT coalesce(sum(anon_4.bytes), %(coalesce_2)s) AS coalesce_1
  FROM (
    SELECT stored_bytes.bytes AS bytes
    FROM stored_bytes
    WHERE stored_bytes.user_id = %(user_id)s::UUID
    UNION ALL
    SELECT task_count_changes.bytes AS bytes
    FROM task_count_changes
    WHERE task_count_changes.user_id = %(user_id)s::UUID
    UNION ALL
    SELECT webhook_deliveries.bytes AS bytes
    FROM webhook_deliveries
    WHERE webhook_deliveries.user_id = %(user_id)s::UUID
    UNION ALL
    SELECT task_steps.bytes AS bytes
    FROM task_steps
    WHERE task_steps.user_id = %(user_id)s::UUID
    UNION ALL
    SELECT files.size AS size
    FROM files
    WHERE files.user_id = %(user_id)s::UUID) AS anon_4) AS anon_3
FROM (
  SELECT count(*) AS tasks, coalesce(sum(anon_5.arguments), %(coalesce_3)s) AS bytes, coalesce(sum(anon_5.stored),
      %(coalesce_4)s) AS stored
  FROM (
    SELECT anon_6.arguments AS arguments, anon_6.stored AS stored
    FROM (
      SELECT octet_length(tasks.args) + octet_length(tasks.kwargs) AS arguments, 1024 + tasks.attached_bytes +
          coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
          coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
          coalesce(octet_length(tasks.error_message), 0) AS stored
      FROM tasks
      WHERE tasks.user_id = %(user_id)s::UUID
      AND tasks.status = %(status_1)s
      ORDER BY tasks.id DESC
      LIMIT %(queued)s) AS anon_6
    UNION ALL
    SELECT anon_7.arguments AS arguments, anon_7.stored AS stored
    FROM (
      SELECT octet_length(tasks.args) + octet_length(tasks.kwargs) AS arguments, 1024 + tasks.attached_bytes +
          coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
          coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
          coalesce(octet_length(tasks.error_message), 0) AS stored
      FROM tasks
      WHERE tasks.user_id = %(user_id)s::UUID
      AND tasks.status = %(status_2)s
      ORDER BY tasks.id DESC
      LIMIT %(queued)s) AS anon_7) AS anon_5) AS anon_1
JOIN (
  SELECT count(*) AS tasks, coalesce(CAST(extract(epoch FROM min(tasks.created_at) + %(window)s * interval '1 second' -
      clock_timestamp()) AS double precision), %(coalesce_5)s) AS seconds
  FROM tasks
  WHERE tasks.user_id = %(user_id)s::UUID
  AND tasks.id > %(oldest)s::UUID
  AND tasks.created_at > statement_timestamp() - %(window)s * interval '1 second') AS anon_2 ON true;

SELECT api_keys.id
FROM api_keys
WHERE api_keys.id = %(id_1)s::UUID
AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < clock_timestamp() - %(clock_timestamp_1)s)
FOR NO KEY UPDATE SKIP LOCKED;

SELECT api_keys.id, api_keys.scopes, users.id AS id_1, users.username, users.role, users.max_priority, users.followers,
    api_keys.last_used_at IS NULL OR api_keys.last_used_at < clock_timestamp() - %(clock_timestamp_1)s AS anon_1,
    api_keys.digest
FROM api_keys
JOIN users ON users.id = api_keys.user_id
WHERE api_keys.revoked_at IS NULL
AND (api_keys.expires_at IS NULL OR api_keys.expires_at > clock_timestamp())
AND users.is_active
AND api_keys.digest = ANY (%(digests)s::BYTEA[]);

SELECT users.id, users.username, users.role, users.max_priority, users.followers, login_sessions.expires_at,
    clock_timestamp() AS clock_timestamp_1, login_sessions.id AS id_1
FROM login_sessions
JOIN users ON users.id = login_sessions.user_id
WHERE login_sessions.revoked_at IS NULL
AND login_sessions.expires_at > clock_timestamp()
AND users.is_active
AND login_sessions.id = ANY (%(ids)s::UUID[]);

SELECT worker_processes.id, worker_processes.name, worker_processes.queues, worker_processes.concurrency,
    worker_processes.task_names
FROM worker_processes
WHERE worker_processes.stopped_at IS NULL
AND worker_processes.heartbeat_at > statement_timestamp() - %(p_lease)s;

UPDATE api_keys
SET last_used_at=clock_timestamp()
WHERE api_keys.id = %(id_1)s::UUID;

WITH new_rows AS MATERIALIZED (
  SELECT "new".name AS name, "new".task_type AS task_type, "new".celery_task_name AS celery_task_name, "new".args AS
      args, "new".kwargs AS kwargs, "new".priority AS priority, "new".delay_seconds AS delay_seconds, "new".expires_at
      AS expires_at, "new".timeout_seconds AS timeout_seconds, "new".max_attempts AS max_attempts,
      "new".retry_backoff_seconds AS retry_backoff_seconds, "new".tags AS tags, "new".metadata AS metadata, "new".id AS
      id, "new".celery_id AS celery_id, "new".user_id AS user_id, "new".queue AS queue, "new".max_attempts_named AS
      max_attempts_named, "new".rerun_lost AS rerun_lost, "new".attached_bytes AS attached_bytes, "new".run_at AS run_at
  FROM json_to_recordset(CAST($1 AS JSON)) AS "new"(name TEXT, task_type TEXT, celery_task_name TEXT, args TEXT, kwargs
      TEXT, priority TEXT, delay_seconds FLOAT, expires_at TIMESTAMP WITH TIME ZONE, timeout_seconds FLOAT, max_attempts
      INTEGER, retry_backoff_seconds FLOAT, tags TEXT[], metadata JSONB, id UUID, celery_id UUID, user_id UUID, queue
      TEXT, max_attempts_named BOOLEAN, rerun_lost BOOLEAN, attached_bytes BIGINT, run_at TIMESTAMP WITH TIME ZONE)),
      counted AS (
  INSERT INTO task_submissions (user_id, task_type, queue, priority, celery_task_name, at, number)
  SELECT new_rows.user_id AS user_id, new_rows.task_type AS task_type, new_rows.queue AS queue, new_rows.priority AS
      priority, new_rows.celery_task_name AS celery_task_name, statement_timestamp() AS statement_timestamp_1, count(*)
      AS count_1
  FROM new_rows
  GROUP BY new_rows.user_id, new_rows.task_type, new_rows.queue, new_rows.priority, new_rows.celery_task_name), placed
      AS (
  SELECT new_rows.id AS id, new_rows.user_id AS user_id, new_rows.queue AS queue, new_rows.priority AS priority,
      row_number() OVER (PARTITION BY new_rows.user_id, new_rows.queue, new_rows.priority
    ORDER BY new_rows.id) AS nth
  FROM new_rows
  WHERE coalesce(coalesce(new_rows.run_at, statement_timestamp() + new_rows.delay_seconds * interval '1 second'),
      statement_timestamp()) <= statement_timestamp()
  AND $2), wanted AS (
  SELECT placed.user_id AS user_id, placed.queue AS queue, placed.priority AS priority, count(*) AS number,
      CAST(coalesce(min(users.weight), 1) AS FLOAT) AS weight
  FROM placed
  LEFT OUTER JOIN users ON users.id = placed.user_id
  GROUP BY placed.user_id, placed.queue, placed.priority), at AS (
  SELECT wanted.user_id AS user_id, wanted.queue AS queue, wanted.priority AS priority, wanted.number AS number,
      wanted.weight AS weight, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = wanted.queue
      AND claimed_turns.priority = wanted.priority), '0.0') AS clock
  FROM wanted), given AS (
  INSERT INTO user_turns (user_id, queue, priority, clock, last)
  SELECT at.user_id AS user_id, at.queue AS queue, at.priority AS priority, at.clock AS clock, at.clock + at.number /
      CAST(at.weight AS FLOAT) AS anon_2
  FROM at
  ORDER BY at.user_id, at.queue, at.priority
  ON CONFLICT (user_id, queue, priority)
  DO UPDATE SET last = (greatest(user_turns.last, excluded.clock) + (excluded.last - excluded.clock)), clock =
      excluded.clock
  RETURNING user_turns.user_id, user_turns.queue, user_turns.priority, user_turns.last)
INSERT INTO tasks (name, task_type, celery_task_name, args, kwargs, priority, delay_seconds, expires_at,
    timeout_seconds, max_attempts, retry_backoff_seconds, tags, metadata, id, celery_id, user_id, queue,
    max_attempts_named, rerun_lost, attached_bytes, run_at, due_at, created_at, updated_at, turn)
SELECT new_rows.name, new_rows.task_type, new_rows.celery_task_name, new_rows.args, new_rows.kwargs, new_rows.priority,
    new_rows.delay_seconds, new_rows.expires_at, new_rows.timeout_seconds, new_rows.max_attempts,
    new_rows.retry_backoff_seconds, new_rows.tags, new_rows.metadata, new_rows.id, new_rows.celery_id, new_rows.user_id,
    new_rows.queue, new_rows.max_attempts_named, new_rows.rerun_lost, new_rows.attached_bytes, coalesce(new_rows.run_at,
    statement_timestamp() + new_rows.delay_seconds * interval '1 second') AS coalesce_1, CASE WHEN
    (coalesce(new_rows.run_at, statement_timestamp() + new_rows.delay_seconds * interval '1 second') >
    statement_timestamp()) THEN coalesce(new_rows.run_at, statement_timestamp() + new_rows.delay_seconds * interval '1
    second') ELSE statement_timestamp() END AS anon_1, statement_timestamp() AS statement_timestamp_1,
    statement_timestamp() AS statement_timestamp__1, turns.turn
FROM new_rows
LEFT OUTER JOIN (
  SELECT placed.id AS id, given.last - (wanted.number - placed.nth) / CAST(wanted.weight AS FLOAT) AS turn
  FROM placed, given, wanted
  WHERE placed.user_id = wanted.user_id
  AND placed.queue = wanted.queue
  AND placed.priority = wanted.priority
  AND given.user_id = placed.user_id
  AND given.queue = placed.queue
  AND given.priority = placed.priority) AS turns ON turns.id = new_rows.id
RETURNING tasks.id, tasks.run_at, tasks.due_at, tasks.created_at, tasks.updated_at, tasks.metadata, CASE WHEN
    tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures, tasks.queue, tasks.held) END AS waits;
