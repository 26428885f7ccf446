-- Written by `python -m tests.support.golden_sql --write`.

-- maintenance, retention
DELETE FROM claim_holds
WHERE claim_holds.kind = %(kind_1)s
AND NOT (EXISTS (
    SELECT *
    FROM worker_processes
    WHERE CAST(worker_processes.id AS TEXT) = claim_holds.name
    AND worker_processes.stopped_at IS NULL));

-- queues_and_workers, worker_agent
DELETE FROM claim_holds
WHERE claim_holds.kind = %(kind_1)s
AND claim_holds.name = %(name_1)s;

-- maintenance, retention
DELETE FROM claimed_turns
WHERE EXISTS (
  SELECT *
  FROM claimed_turns AS higher
  WHERE higher.queue = claimed_turns.queue
  AND higher.priority = claimed_turns.priority
  AND higher.turn > claimed_turns.turn);

-- folding, maintenance, retention
DELETE FROM error_groups
WHERE count = 0
AND fingerprint IN (
  SELECT fingerprint
  FROM (
    SELECT fingerprint, row_number() OVER (PARTITION BY user_id
      ORDER BY last_seen DESC) AS place
    FROM error_groups
    WHERE count = 0 ) AS of_user
  WHERE place > %(most)s
  ORDER BY place DESC
  LIMIT %(batch)s );

-- folding, maintenance, retention
DELETE FROM error_times
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM error_times
    WHERE at < statement_timestamp() - %(age)s
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED ));

-- places_of_limits, places_of_users
DELETE FROM limit_places
WHERE ((EXISTS (
      SELECT *
      FROM worker_processes
      WHERE worker_processes.id = limit_places.worker_id
      AND worker_processes.stopped_at IS NOT NULL)) OR limit_places.worker_id IS NOT NULL
  AND NOT (EXISTS (
      SELECT *
      FROM worker_processes
      WHERE worker_processes.id = limit_places.worker_id
      AND worker_processes.stopped_at IS NULL
      AND worker_processes.heartbeat_at >= clock_timestamp() - %(clock_timestamp_1)s))
  AND limit_places.started_at < clock_timestamp() - %(clock_timestamp_2)s)
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- places_of_limits, places_of_users
DELETE FROM limit_places
WHERE (EXISTS (
    SELECT *
    FROM worker_processes
    WHERE worker_processes.id = limit_places.worker_id
    AND worker_processes.stopped_at IS NOT NULL))
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- places_of_limits, places_of_users, worker_agent
DELETE FROM limit_places
WHERE (limit_places.task_id, limit_places.attempt) IN (
  SELECT anon_1.task_id, anon_1.attempt
  FROM unnest(%(param_1)s::UUID[], %(param_2)s::INTEGER[]) AS anon_1(task_id, attempt))
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- limits, places_of_limits
DELETE FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s;

-- places_of_limits, places_of_users
DELETE FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.ended_at IS NOT NULL;

-- places_of_limits, places_of_users
DELETE FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.worker_id IS NULL
AND (
  SELECT tasks.id
  FROM tasks
  WHERE tasks.id = limit_places.task_id
  AND tasks.status = %(status_1)s
  AND tasks.held IS NULL
  AND tasks.turn IS NOT NULL
  AND tasks."limit" = limit_places.limit_name
  AND tasks.attempt + %(attempt_1)s = limit_places.attempt
  LIMIT 1) IS NULL
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- edits, limits_of_submits, retries, unique_keys
DELETE FROM limit_places
WHERE limit_places.task_id = %(task_id_1)s::UUID
AND limit_places.worker_id IS NULL
AND limit_places.ended_at IS NULL
AND NOT (limit_places.started_at IS NOT NULL
  AND (EXISTS (
      SELECT *
      FROM limits
      WHERE limits.name = limit_places.limit_name
      AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL))))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- limits, places_of_limits
DELETE FROM limits
WHERE limits.name = %(name_1)s;

-- logins, second_factors, users
DELETE FROM login_failures
WHERE login_failures.key IN (%(key_1_1)s, …);

-- second_factors, start
DELETE FROM second_factors
WHERE second_factors.user_id = %(user_id_1)s::UUID;

-- folding, maintenance, retention
DELETE FROM stored_bytes
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM stored_bytes
    WHERE bytes = 0
    LIMIT 1000
    FOR UPDATE SKIP LOCKED))
AND bytes = 0;

-- folding, maintenance, retention
DELETE FROM task_counts
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM task_counts
    WHERE number = 0
    LIMIT 1000
    FOR UPDATE SKIP LOCKED))
AND number = 0;

-- folding, maintenance, retention
DELETE FROM task_durations
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM task_durations
    WHERE step_seconds = %(step)s
    AND at < statement_timestamp() - %(kept)s
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED));

-- folding, maintenance, retention
DELETE FROM task_stats
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM task_stats
    WHERE step_seconds = %(step)s
    AND at < statement_timestamp() - %(kept)s
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED));

-- folding, maintenance, retention
DELETE FROM task_totals
WHERE ctid = ANY(ARRAY(
    SELECT ctid
    FROM task_totals
    WHERE number = 0
    LIMIT 1000
    FOR UPDATE SKIP LOCKED))
AND number = 0;

-- deletions, idempotency, limits, maintenance
DELETE FROM tasks
WHERE tasks.id = %(id_1)s::UUID
AND (tasks.status IN (%(status_1_1)s, …) OR (CAST(tasks.status AS TEXT) || '') = %(param_1)s);

-- maintenance, retention
DELETE FROM worker_processes
WHERE worker_processes.heartbeat_at < statement_timestamp() - %(statement_timestamp_1)s
AND NOT (EXISTS (
    SELECT *
    FROM tasks
    WHERE tasks.status = %(status_1)s
    AND tasks.worker_id = worker_processes.id));

-- api_keys, submits
INSERT INTO api_keys (id, user_id, name, prefix, digest, scopes, expires_at, last_used_at, revoked_at)
VALUES (%(id)s::UUID, %(user_id)s::UUID, %(name)s, %(prefix)s, %(digest)s, %(scopes)s::TEXT[], %(expires_at)s,
    %(last_used_at)s, %(revoked_at)s)
RETURNING api_keys.created_at;

-- api_keys, audit, bulk, cancels, counts, deletions, edits, ends_from_outside, errors, folding, idempotency, limits,
-- limits_of_submits, live, logins, maintenance, pages, places_of_limits, places_of_users, queues_and_workers, retries,
-- second_factors, start, stats, submits, unique_keys, users, worker_agent, worker_claims, worker_ends
INSERT INTO audit_events (id, event, origin, actor_id, actor_name, object_kind, object_id, address, request_id, detail)
VALUES (%(id)s::UUID, %(event)s, %(origin)s, %(actor_id)s::UUID, %(actor_name)s, %(object_kind)s, %(object_id)s,
    %(address)s, %(request_id)s, %(detail)s);

-- errors, folding, stats
INSERT INTO error_groups (fingerprint, user_id, celery_task_name, error_type, message, first_seen, last_seen, count)
SELECT "new".fingerprint, "new".user_id, "new".celery_task_name, "new".error_type, "new".message, "new".first_seen,
    "new".last_seen, "new".count
FROM json_to_recordset(CAST(%(p_rows)s AS JSON)) AS "new"(fingerprint TEXT, user_id UUID, celery_task_name TEXT,
    error_type TEXT, message TEXT, first_seen TIMESTAMP WITH TIME ZONE, last_seen TIMESTAMP WITH TIME ZONE, count
    BIGINT)
ON CONFLICT (fingerprint)
DO UPDATE SET message = excluded.message, first_seen = least(error_groups.first_seen, excluded.first_seen), last_seen =
    greatest(error_groups.last_seen, excluded.last_seen), count = (error_groups.count + excluded.count), state = CASE
    WHEN (error_groups.state = %(state_1)s
  AND coalesce(error_groups.state_set_at, error_groups.last_seen) < excluded.last_seen) THEN %(param_1)s ELSE
      error_groups.state END;

-- errors, folding, stats
INSERT INTO error_times (fingerprint, at, number)
SELECT "new".fingerprint, "new".at, "new".number
FROM json_to_recordset(CAST(%(p_rows)s AS JSON)) AS "new"(fingerprint TEXT, at TIMESTAMP WITH TIME ZONE, number BIGINT)
ON CONFLICT (fingerprint, at)
DO UPDATE SET number = (error_times.number + excluded.number);

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
INSERT INTO limits (name, concurrency)
VALUES (%(name)s, %(concurrency)s)
ON CONFLICT
DO NOTHING;

-- logins, second_factors, users
INSERT INTO login_blocks (user_id, block)
VALUES (%(user_id)s::UUID, %(block)s)
ON CONFLICT (user_id, block)
DO UPDATE SET signed_in_at = clock_timestamp();

-- api_keys, logins, second_factors, submits, users
INSERT INTO login_failures (key, failures)
VALUES (%(key_m0)s, %(failures_m0)s), …
ON CONFLICT (key)
DO UPDATE SET key = excluded.key
RETURNING login_failures.key, login_failures.failures, login_failures.window_started_at, login_failures.blocked_until,
    clock_timestamp() AS clock_timestamp_1;

-- logins, second_factors, users
INSERT INTO login_sessions (id, user_id, created_at, expires_at, revoked_at, revoked_why)
VALUES (%(id)s::UUID, %(user_id)s::UUID, %(created_at)s, %(expires_at)s, %(revoked_at)s, %(revoked_why)s);

-- maintenance, retention
INSERT INTO maintenance_lease (id, holder, expires_at, rescue_after)
VALUES (%(id)s, %(holder)s::UUID, (clock_timestamp() + %(clock_timestamp_1)s), (clock_timestamp() +
    %(clock_timestamp_2)s))
ON CONFLICT (id)
DO UPDATE SET holder = %(param_1)s::UUID, renewed_at = clock_timestamp(), expires_at = (clock_timestamp() +
    %(clock_timestamp_3)s), rescue_after = CASE WHEN (maintenance_lease.renewed_at < clock_timestamp() -
    %(clock_timestamp_4)s) THEN clock_timestamp() + %(clock_timestamp_5)s ELSE maintenance_lease.rescue_after END
WHERE maintenance_lease.holder = %(holder_1)s::UUID OR maintenance_lease.expires_at < clock_timestamp()
RETURNING maintenance_lease.rescue_after <= clock_timestamp() AS anon_1;

-- logins, second_factors, users
INSERT INTO refresh_tokens (digest, session_id, expires_at, used_at)
VALUES (%(digest)s, %(session_id)s::UUID, %(expires_at)s, %(used_at)s)
RETURNING refresh_tokens.created_at;

-- second_factors, start
INSERT INTO second_factors (user_id, secret)
VALUES (%(user_id)s::UUID, %(secret)s);

-- errors, folding, retention, stats
INSERT INTO task_durations (user_id, step_seconds, at, measure, bucket, number)
SELECT "new".user_id, "new".step_seconds, "new".at, "new".measure, "new".bucket, "new".number
FROM json_to_recordset(CAST(%(p_rows)s AS JSON)) AS "new"(user_id UUID, step_seconds INTEGER, at TIMESTAMP WITH TIME
    ZONE, measure TEXT, bucket SMALLINT, number BIGINT)
ON CONFLICT (user_id, step_seconds, at, measure, bucket)
DO UPDATE SET number = (task_durations.number + excluded.number);

-- errors, folding, retention, stats
INSERT INTO task_stats (user_id, step_seconds, at, task_type, queue, priority, submitted, succeeded, failed, revoked)
SELECT "new".user_id, "new".step_seconds, "new".at, "new".task_type, "new".queue, "new".priority, "new".submitted,
    "new".succeeded, "new".failed, "new".revoked
FROM json_to_recordset(CAST(%(p_rows)s AS JSON)) AS "new"(user_id UUID, step_seconds INTEGER, at TIMESTAMP WITH TIME
    ZONE, task_type TEXT, queue TEXT, priority TEXT, submitted BIGINT, succeeded BIGINT, failed BIGINT, revoked BIGINT)
ON CONFLICT (user_id, step_seconds, at, task_type, queue, priority)
DO UPDATE SET submitted = (task_stats.submitted + excluded.submitted), succeeded = (task_stats.succeeded +
    excluded.succeeded), failed = (task_stats.failed + excluded.failed), revoked = (task_stats.revoked +
    excluded.revoked);

-- logins, second_factors, users
INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)
VALUES (%(id)s::UUID, %(username)s, %(username_normalized)s, %(email)s, %(email_normalized)s, %(password_hash)s)
ON CONFLICT
DO NOTHING
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

-- start, users
INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash, role, is_active, weight,
    max_priority)
VALUES (%(id)s::UUID, %(username)s, %(username_normalized)s, %(email)s, %(email_normalized)s, %(password_hash)s,
    %(role)s, %(is_active)s, %(weight)s, %(max_priority)s)
ON CONFLICT
DO NOTHING
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

-- bulk, idempotency, limits_of_submits, retries, unique_keys, users
RELEASE SAVEPOINT sa_savepoint_1;

-- idempotency, unique_keys, users
ROLLBACK TO SAVEPOINT sa_savepoint_1;

-- bulk, idempotency, limits_of_submits, retries, unique_keys, users
SAVEPOINT sa_savepoint_1;

-- bulk, unique_keys
SAVEPOINT sa_savepoint_2;

-- maintenance, places_of_limits, places_of_users, retention
SELECT (EXISTS (
    SELECT *
    FROM limit_places
    WHERE limit_places.limit_name = %(limit_name_1)s
    AND limit_places.ended_at IS NULL)) OR (EXISTS (
    SELECT *
    FROM tasks
    WHERE tasks.status = %(status_1)s
    AND tasks.turn IS NOT NULL
    AND tasks.held = 'user')) AS anon_1;

-- attempts, bulk, cancels, counts, deletions, edits, ends_from_outside, errors, folding, limits_of_submits, live,
-- maintenance, pages, places_of_users, queues_and_workers, retention, retries, stats, unique_keys, worker_claims,
-- worker_ends
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
WHERE tasks.id = %(id_1)s::UUID;

-- attempts, cancels, deletions, edits, idempotency, limits, retries, unique_keys
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
WHERE tasks.id = %(id_1)s::UUID
AND tasks.user_id = %(user_id_1)s::UUID;

-- idempotency, limits_of_submits, unique_keys
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
WHERE tasks.id IN (%(id_1_1)s::UUID, …);

-- queues_and_workers, worker_agent
SELECT EXISTS (
  SELECT *
  FROM claim_holds
  WHERE claim_holds.kind = %(kind_1)s
  AND claim_holds.name = %(name_1)s) AS anon_1;

-- limits, places_of_limits
SELECT EXISTS (
  SELECT *
  FROM limit_places
  WHERE limit_places.limit_name = %(limit_name_1)s
  AND limit_places.ended_at IS NULL
  AND limit_places.worker_id IS NOT NULL) AS anon_1;

-- logins, second_factors, users
SELECT EXISTS (
  SELECT *
  FROM login_blocks
  WHERE login_blocks.user_id = %(user_id_1)s::UUID
  AND login_blocks.block IN (%(block_1_1)s, …)) AS anon_1;

-- limits, places_of_limits
SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks."limit" = %(limit_1)s
  AND tasks.status = %(status_1)s) AS anon_1;

-- maintenance, places_of_limits
SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.held = 'name') AS anon_1;

-- start, users
SELECT EXISTS (
  SELECT *
  FROM users
  WHERE users.username_normalized = %(username_normalized_1)s) AS anon_1;

-- maintenance, retention
SELECT NOT (maintenance_lease.holder = %(holder_1)s::UUID OR maintenance_lease.expires_at < clock_timestamp()) AS anon_1
FROM maintenance_lease
WHERE maintenance_lease.id = %(id_1)s;

-- bulk, pages
SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1;

-- bulk, pages
SELECT anon_1.id, anon_1.fits, anon_1.is_edge
FROM (
  SELECT tasks.id AS id, true AS fits, %(param_1)s AS is_edge
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  AND tasks.status = %(status_1)s
  ORDER BY tasks.id DESC
  LIMIT %(param_2)s) AS anon_1;

-- maintenance, retention
SELECT anon_1.name
FROM unnest(%(p_queues)s::TEXT[]) AS anon_1(name)
JOIN LATERAL (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.queue = anon_1.name
  AND tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND tasks.held IS NULL
  ORDER BY tasks.priority, tasks.turn, tasks.id
  LIMIT %(param_1)s) AS first ON true;

-- bulk, counts
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

-- api_keys, submits
SELECT api_keys.id, api_keys.scopes, users.id AS id_1, users.username, users.role, users.max_priority,
    api_keys.last_used_at IS NULL OR api_keys.last_used_at < clock_timestamp() - %(clock_timestamp_1)s AS anon_1,
    api_keys.digest
FROM api_keys
JOIN users ON users.id = api_keys.user_id
WHERE api_keys.revoked_at IS NULL
AND (api_keys.expires_at IS NULL OR api_keys.expires_at > clock_timestamp())
AND users.is_active
AND api_keys.digest = ANY (%(digests)s::BYTEA[]);

-- api_keys, submits
SELECT api_keys.id, api_keys.user_id, api_keys.name, api_keys.prefix, api_keys.digest, api_keys.scopes,
    api_keys.created_at, api_keys.expires_at, api_keys.last_used_at, api_keys.revoked_at
FROM api_keys
WHERE api_keys.id = %(pk_1)s::UUID;

-- bulk, limits, limits_of_submits, maintenance, places_of_limits, places_of_users, queues_and_workers, retention,
-- worker_agent
SELECT claim_holds.name, claim_holds.since, claim_holds.reason, claim_holds.held_by
FROM claim_holds
WHERE claim_holds.kind = %(kind_1)s;

-- bulk, live
SELECT clock_timestamp() AS clock_timestamp_1;

-- logins, second_factors, users
SELECT clock_timestamp() AS clock_timestamp_1
FROM users
WHERE users.id = %(id_1)s::UUID
AND users.password_hash = %(password_hash_1)s
AND users.is_active
FOR SHARE;

-- api_keys, submits
SELECT count(*) AS count_1
FROM api_keys
WHERE api_keys.user_id = %(user_id_1)s::UUID
AND api_keys.revoked_at IS NULL
AND (api_keys.expires_at IS NULL OR api_keys.expires_at > clock_timestamp());

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
SELECT count(*) AS count_1
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.ended_at IS NULL
AND limit_places.worker_id IS NOT NULL;

-- limits, limits_of_submits, places_of_limits
SELECT count(*) FILTER (
  WHERE limit_places.ended_at IS NULL) AS anon_1, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL
  AND limit_places.started_at IS NULL OR limit_places.started_at > clock_timestamp() - %(param_1)s * interval '1
      second') AS anon_2, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL
  AND limit_places.worker_id IS NULL) AS anon_3
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s;

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
SELECT count(*) FILTER (
  WHERE limit_places.ended_at IS NULL) AS anon_1, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL
  AND limit_places.started_at IS NULL) AS anon_2, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL
  AND limit_places.worker_id IS NULL) AS anon_3
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s;

-- audit, grants
SELECT current_user;

-- limits_of_submits, places_of_limits
SELECT limit_places.limit_key, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL) AS anon_1, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL
  AND limit_places.started_at IS NULL OR limit_places.started_at > clock_timestamp() - %(param_1)s * interval '1
      second') AS anon_2
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.limit_key = ANY (%(p_keys)s::TEXT[])
GROUP BY limit_places.limit_key;

-- limits_of_submits, places_of_limits, places_of_users
SELECT limit_places.limit_key, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL) AS anon_1, count(*) FILTER (
  WHERE limit_places.ended_at IS NULL
  AND limit_places.started_at IS NULL) AS anon_2
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.limit_key = ANY (%(p_keys)s::TEXT[])
GROUP BY limit_places.limit_key;

-- limits, places_of_limits
SELECT limit_places.limit_name, count(*) AS count_1
FROM limit_places
WHERE limit_places.ended_at IS NULL
AND limit_places.worker_id IS NOT NULL
GROUP BY limit_places.limit_name;

-- places_of_limits, places_of_users
SELECT limits.name
FROM limits
LEFT OUTER JOIN LATERAL (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks."limit" = limits.name
  AND tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND tasks.held = 'limit'
  LIMIT 1) AS first_limit ON true
LEFT OUTER JOIN LATERAL (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks."limit" = limits.name
  AND tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND tasks.limit_key IS NOT NULL
  AND tasks.held = 'limit_key'
  LIMIT 1) AS first_limit_key ON true
WHERE first_limit.id IS NOT NULL OR first_limit_key.id IS NOT NULL
ORDER BY limits.name;

-- maintenance, places_of_limits, places_of_users, retention
SELECT limits.name
FROM limits
ORDER BY limits.name;

-- limits, places_of_limits
SELECT limits.name, limits.concurrency, limits.concurrency_per_key, limits.rate_count, limits.rate_period_seconds,
    limits.rate_per_key_count, limits.rate_per_key_period_seconds, limits.on_excess, limits.created_at,
    limits.updated_at
FROM limits
ORDER BY limits.name;

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
SELECT limits.name, limits.concurrency, limits.concurrency_per_key, limits.rate_count, limits.rate_period_seconds,
    limits.rate_per_key_count, limits.rate_per_key_period_seconds, limits.on_excess, limits.created_at,
    limits.updated_at
FROM limits
WHERE limits.name = %(name_1)s
FOR NO KEY UPDATE;

-- limits, places_of_limits
SELECT limits.name, limits.concurrency, limits.concurrency_per_key, limits.rate_count, limits.rate_period_seconds,
    limits.rate_per_key_count, limits.rate_per_key_period_seconds, limits.on_excess, limits.created_at,
    limits.updated_at
FROM limits
WHERE limits.name = %(name_1)s
FOR UPDATE;

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
SELECT limits.name, limits.concurrency, limits.concurrency_per_key, limits.rate_count, limits.rate_period_seconds,
    limits.rate_per_key_count, limits.rate_per_key_period_seconds, limits.on_excess, limits.created_at,
    limits.updated_at
FROM limits
WHERE limits.name = %(pk_1)s;

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
SELECT limits.name, limits.concurrency, limits.concurrency_per_key, limits.rate_count, limits.rate_period_seconds,
    limits.rate_per_key_count, limits.rate_per_key_period_seconds, limits.on_excess, limits.created_at,
    limits.updated_at
FROM limits
WHERE limits.name IN (%(name_1_1)s, …)
ORDER BY limits.name
FOR KEY SHARE;

-- logins, second_factors, users
SELECT login_failures.key, login_failures.failures, login_failures.window_started_at, login_failures.blocked_until,
    clock_timestamp() AS clock_timestamp_1
FROM login_failures
WHERE login_failures.key IN (%(key_1_1)s, …);

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
SELECT next.id, anon_1.queue, next.celery_task_name, next.limit_key, anon_1.place, next.turn
FROM unnest(%(p_queues)s::TEXT[], %(p_priorities)s::TEXT[]) WITH ORDINALITY AS anon_1(queue, priority, place)
JOIN LATERAL (
  SELECT tasks.id AS id, tasks.celery_task_name AS celery_task_name, tasks.limit_key AS limit_key, tasks.turn AS turn
  FROM tasks
  WHERE tasks."limit" = %(p_limit)s
  AND tasks.status = %(status_1)s
  AND tasks.held = 'limit'
  AND tasks.turn IS NOT NULL
  AND tasks.queue = anon_1.queue
  AND tasks.priority = anon_1.priority
  AND coalesce(tasks.expires_at, %(coalesce_1)s) > clock_timestamp()
  ORDER BY tasks.turn, tasks.id
  LIMIT 10
  FOR UPDATE SKIP LOCKED) AS next ON true
LIMIT 10;

-- bulk, edits, idempotency, limits, limits_of_submits, retries, submits, unique_keys
SELECT queued.tasks, queued.bytes, queued.stored, recent.tasks, recent.seconds, ended.bytes
FROM (
  SELECT count(*) AS tasks, coalesce(sum(arguments), 0)::bigint AS bytes, coalesce(sum(stored), 0)::bigint AS stored
  FROM ((
      SELECT octet_length(args) + octet_length(kwargs) AS arguments, 1024 + tasks.attached_bytes +
          coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
          coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
          coalesce(octet_length(tasks.error_message), 0) AS stored
      FROM tasks
      WHERE user_id = %(user_id)s
      AND status = 'pending'
      ORDER BY id DESC
      LIMIT %(queued)s )
    UNION ALL (
      SELECT octet_length(args) + octet_length(kwargs) AS arguments, 1024 + tasks.attached_bytes +
          coalesce(octet_length(tasks.args), 0) + coalesce(octet_length(tasks.kwargs), 0) +
          coalesce(octet_length(tasks.progress_detail), 0) + coalesce(octet_length(tasks.result), 0) +
          coalesce(octet_length(tasks.error_message), 0) AS stored
      FROM tasks
      WHERE user_id = %(user_id)s
      AND status = 'running'
      ORDER BY id DESC
      LIMIT %(queued)s )) AS active ) AS queued, (
  SELECT count(*) AS tasks, coalesce(extract(epoch FROM min(created_at) + %(window)s * interval '1 second' -
      clock_timestamp()), 0)::float AS seconds
  FROM tasks
  WHERE %(rated)s
  AND user_id = %(user_id)s
  AND id > CAST(%(oldest)s AS uuid)
  AND created_at > statement_timestamp() - %(window)s * interval '1 second' ) AS recent, (
  SELECT coalesce(sum(bytes), 0)::bigint AS bytes
  FROM (
    SELECT bytes
    FROM stored_bytes
    WHERE user_id = %(user_id)s
    UNION ALL
    SELECT bytes
    FROM task_count_changes
    WHERE user_id = %(user_id)s ) AS kept ) AS ended;

-- logins, second_factors, users
SELECT second_factors.user_id, second_factors.secret, second_factors.confirmed_at, second_factors.last_step,
    clock_timestamp() AS clock_timestamp_1
FROM second_factors
WHERE second_factors.user_id = %(user_id_1)s::UUID;

-- bulk, counts, errors, pages, queues_and_workers, stats
SELECT set_config(%(set_config_2)s, %(timeout)s, %(set_config_3)s) AS set_config_1, set_config(%(set_config_5)s,
    %(set_config_6)s, %(set_config_7)s) AS set_config_4;

-- errors, stats
SELECT statement_timestamp() AS statement_timestamp_1;

-- idempotency, unique_keys
SELECT sum(1200 + coalesce(octet_length(tasks.name), 0) + coalesce(octet_length(tasks.task_type), 0) +
    coalesce(octet_length(tasks.unique_key), 0) + coalesce(octet_length(tasks.args), 0) +
    coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
    coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) + CASE WHEN
    pg_column_compression(tasks.tags) IS NULL THEN pg_column_size(tasks.tags) ELSE octet_length(tasks.tags::text) END +
    CASE WHEN pg_column_compression(tasks.metadata) IS NULL THEN pg_column_size(tasks.metadata) ELSE
    octet_length(tasks.metadata::text) END) AS sum_1
FROM tasks
WHERE tasks.id = ANY (%(ids)s::UUID[]);

-- places_of_limits, places_of_users
SELECT task.id, task.queue, task.priority, limit_places.limit_key
FROM limit_places
JOIN LATERAL (
  SELECT tasks.id AS id, tasks.queue AS queue, tasks.priority AS priority
  FROM tasks
  WHERE tasks.id = limit_places.task_id
  AND tasks.status = %(status_1)s
  AND tasks.held IS NULL
  LIMIT 1) AS task ON true
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.worker_id IS NULL
AND limit_places.ended_at IS NULL;

-- live, logs
SELECT task_logs.task_id, task_logs.seq, task_logs.attempt, task_logs.at, task_logs.level, task_logs.logger,
    task_logs.message, task_logs.fields, anon_1.of_all
FROM task_logs
JOIN (
  SELECT anon_2.seq AS seq, anon_2.bytes AS bytes, sum(anon_2.bytes) OVER (
    ORDER BY anon_2.seq) AS through, count(*) OVER () AS of_all
  FROM (
    SELECT task_logs.seq AS seq, %(param_1)s + octet_length(task_logs.logger) + octet_length(task_logs.message) +
        octet_length(task_logs.fields) AS bytes
    FROM task_logs
    WHERE task_logs.task_id = %(task_id_1)s::UUID
    AND task_logs.seq > %(seq_1)s
    ORDER BY task_logs.seq
    LIMIT %(param_2)s) AS anon_2) AS anon_1 ON task_logs.seq = anon_1.seq
WHERE task_logs.task_id = %(task_id_2)s::UUID
AND (anon_1.through <= %(through_1)s OR anon_1.through = anon_1.bytes)
ORDER BY task_logs.seq;

-- errors, folding, retention, stats
SELECT task_stats.user_id, task_stats.step_seconds, task_stats.at, count(*) AS count_1
FROM task_stats
WHERE task_stats.user_id IN (%(user_id_1_1)s::UUID, …)
AND task_stats.step_seconds IN (%(step_seconds_1_1)s, …)
AND task_stats.at IN (%(at_1_1)s, …)
GROUP BY task_stats.user_id, task_stats.step_seconds, task_stats.at;

-- bulk, idempotency, limits_of_submits, retries, unique_keys
SELECT tasks.active_key, tasks.id
FROM tasks
WHERE tasks.user_id = %(p_user_id)s::UUID
AND tasks.active_key = ANY (%(p_keys)s::TEXT[]);

-- maintenance, retention
SELECT tasks.id
FROM tasks
LEFT OUTER JOIN worker_processes ON worker_processes.id = tasks.worker_id
WHERE tasks.status = %(status_1)s
AND worker_processes.stopped_at IS NOT NULL
LIMIT %(param_1)s
FOR UPDATE OF tasks SKIP LOCKED;

-- bulk, edits, folding, limits_of_submits, places_of_users, retries, unique_keys
SELECT tasks.id, tasks.user_id, tasks."limit", tasks.user_limited
FROM tasks
WHERE tasks.id IN (%(id_1_1)s::UUID, …);

-- bulk, pages
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
  AND tasks.status IN (%(status_1_1)s, …)) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

-- bulk, pages
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
  WHERE tasks.id = ANY (%(ids)s::UUID[])) AS anon_1 ON anon_1.id = tasks.id
WHERE anon_1.through <= %(most_bytes)s OR anon_1.through = anon_1.bytes
ORDER BY anon_1.place;

-- live, submits
SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures,
    tasks.queue, tasks.held) END AS waits
FROM tasks
WHERE tasks.id = %(one)s::UUID;

-- live, submits
SELECT tasks.id, tasks.user_id, tasks.name, tasks.task_type, tasks.celery_task_name, tasks.args, tasks.kwargs,
    tasks.priority, tasks.queue, tasks.tags, tasks.metadata, tasks.status, tasks.status_reason, tasks.progress,
    tasks.progress_detail, tasks.result, tasks.error_type, tasks.error_message, tasks.error_fingerprint, tasks.run_at,
    tasks.delay_seconds, tasks.expires_at, tasks.timeout_seconds, tasks.retry_backoff_seconds, tasks.max_attempts,
    tasks.unique_key, tasks.on_conflict, tasks."limit", tasks.limit_key, tasks.retry_of, tasks.attempt, tasks.worker,
    tasks.celery_id, tasks.version, tasks.created_at, tasks.updated_at, tasks.started_at, tasks.finished_at,
    tasks.cancel_requested_at, CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures,
    tasks.queue, tasks.held) END AS waits
FROM tasks
WHERE tasks.id = %(one)s::UUID
AND tasks.user_id = %(owner)s::UUID;

-- queues_and_workers, start
SELECT tasks.queue, count(*) AS count_1
FROM tasks
WHERE tasks.status = %(status_1)s
GROUP BY tasks.queue;

-- errors, folding, stats
SELECT users.id
FROM users
WHERE users.id IN (%(id_1_1)s::UUID, …)
ORDER BY users.id
FOR KEY SHARE;

-- logins, second_factors, users
SELECT users.id, users.username, users.password_hash, users.is_active
FROM users
WHERE users.username_normalized IN (%(username_normalized_1_1)s, …) OR users.email_normalized IN
    (%(email_normalized_1_1)s, …);

-- api_keys, audit, errors, idempotency, limits, limits_of_submits, logins, logs, queues_and_workers, second_factors,
-- stats, submits, unique_keys, users
SELECT users.id, users.username, users.role, users.max_priority, login_sessions.expires_at, clock_timestamp() AS
    clock_timestamp_1, login_sessions.id AS id_1
FROM login_sessions
JOIN users ON users.id = login_sessions.user_id
WHERE login_sessions.revoked_at IS NULL
AND login_sessions.expires_at > clock_timestamp()
AND users.is_active
AND login_sessions.id = ANY (%(ids)s::UUID[]);

-- second_factors, users
SELECT users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at
FROM users
WHERE users.id = %(id_1)s::UUID
FOR UPDATE;

-- api_keys, audit, errors, idempotency, limits, limits_of_submits, logins, logs, queues_and_workers, second_factors,
-- stats, submits, unique_keys, users
SELECT users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at
FROM users
WHERE users.id = %(pk_1)s::UUID;

-- attempts, bulk, cancels, counts, deletions, edits, ends_from_outside, errors, folding, limits_of_submits, live, logs,
-- maintenance, pages, places_of_limits, places_of_users, queues_and_workers, retention, retries, stats, submits,
-- unique_keys, webhooks, worker_agent, worker_claims, worker_ends
SELECT users.max_priority
FROM users
WHERE users.id = %(id_1)s::UUID;

-- second_factors, users
SELECT users.password_hash
FROM users
WHERE users.id = %(id_1)s::UUID;

-- api_keys, submits
SELECT users.role
FROM users
WHERE users.id = %(id_1)s::UUID
AND users.is_active
FOR NO KEY UPDATE;

-- attempts, bulk, cancels, counts, deletions, edits, ends_from_outside, errors, folding, idempotency, limits,
-- limits_of_submits, live, logs, maintenance, pages, places_of_limits, places_of_users, queues_and_workers, retention,
-- retries, stats, submits, unique_keys, webhooks, worker_agent, worker_claims, worker_ends
SELECT worker_processes.id, worker_processes.name, worker_processes.queues, worker_processes.concurrency,
    worker_processes.task_names
FROM worker_processes
WHERE worker_processes.stopped_at IS NULL
AND worker_processes.heartbeat_at > statement_timestamp() - %(p_lease)s;

-- errors, folding, maintenance, retention, stats
SET LOCAL lock_timeout = '200ms';

-- places_of_limits, places_of_users
UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE ((EXISTS (
      SELECT *
      FROM worker_processes
      WHERE worker_processes.id = limit_places.worker_id
      AND worker_processes.stopped_at IS NOT NULL)) OR limit_places.worker_id IS NOT NULL
  AND NOT (EXISTS (
      SELECT *
      FROM worker_processes
      WHERE worker_processes.id = limit_places.worker_id
      AND worker_processes.stopped_at IS NULL
      AND worker_processes.heartbeat_at >= clock_timestamp() - %(clock_timestamp_1)s))
  AND limit_places.started_at < clock_timestamp() - %(clock_timestamp_2)s)
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- places_of_limits, places_of_users
UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE (EXISTS (
    SELECT *
    FROM worker_processes
    WHERE worker_processes.id = limit_places.worker_id
    AND worker_processes.stopped_at IS NOT NULL))
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- places_of_limits, places_of_users, worker_agent
UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE (limit_places.task_id, limit_places.attempt) IN (
  SELECT anon_1.task_id, anon_1.attempt
  FROM unnest(%(param_1)s::UUID[], %(param_2)s::INTEGER[]) AS anon_1(task_id, attempt))
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- places_of_limits, places_of_users
UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.worker_id IS NULL
AND (
  SELECT tasks.id
  FROM tasks
  WHERE tasks.id = limit_places.task_id
  AND tasks.status = %(status_1)s
  AND tasks.held IS NULL
  AND tasks.turn IS NOT NULL
  AND tasks."limit" = limit_places.limit_name
  AND tasks.attempt + %(attempt_1)s = limit_places.attempt
  LIMIT 1) IS NULL
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- edits, limits_of_submits, retries, unique_keys
UPDATE limit_places
SET ended_at=clock_timestamp()
WHERE limit_places.task_id = %(task_id_1)s::UUID
AND limit_places.worker_id IS NULL
AND limit_places.ended_at IS NULL
AND limit_places.started_at IS NOT NULL
AND (EXISTS (
    SELECT *
    FROM limits
    WHERE limits.name = limit_places.limit_name
    AND (limits.rate_count IS NOT NULL OR limits.rate_per_key_count IS NOT NULL)))
RETURNING limit_places.limit_name, limit_places.limit_key;

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
UPDATE limits
SET updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

-- api_keys, logins, second_factors, submits, users
UPDATE login_failures
SET failures=%(failures)s, window_started_at=%(window_started_at)s, blocked_until=%(blocked_until)s
WHERE login_failures.key = %(key_1)s;

-- second_factors, users
UPDATE login_sessions
SET revoked_at=clock_timestamp(), revoked_why=%(revoked_why)s
WHERE login_sessions.user_id = %(user_id_1)s::UUID
AND login_sessions.revoked_at IS NULL;

-- logins, second_factors
UPDATE login_sessions
SET revoked_at=clock_timestamp(), revoked_why=%(revoked_why)s
WHERE login_sessions.user_id = %(user_id_1)s::UUID
AND login_sessions.revoked_at IS NULL
AND login_sessions.expires_at > clock_timestamp()
AND login_sessions.id != %(id_1)s::UUID
RETURNING login_sessions.id;

-- maintenance, retention
UPDATE maintenance_lease
SET expires_at=clock_timestamp()
WHERE maintenance_lease.holder = %(holder_1)s::UUID;

-- deletions, maintenance
UPDATE tasks
SET delete_requested_at=coalesce(tasks.delete_requested_at, clock_timestamp()), version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp(), cancel_requested_at=coalesce(tasks.cancel_requested_at, clock_timestamp())
WHERE tasks.id = %(id_1)s::UUID
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;

-- places_of_limits, places_of_users
UPDATE tasks
SET held=%(held)s
WHERE tasks."limit" = %(limit_1)s
AND tasks.status = %(status_1)s
AND tasks.held IS NULL
AND NOT (EXISTS (
    SELECT *
    FROM limit_places
    WHERE limit_places.task_id = tasks.id
    AND limit_places.attempt = tasks.attempt + %(attempt_1)s
    AND limit_places.limit_name = %(limit_name_1)s
    AND limit_places.ended_at IS NULL));

-- limits_of_submits, places_of_limits
UPDATE tasks
SET held=%(held)s
WHERE tasks.id = ANY (%(p_ids)s::UUID[])
AND tasks.status = %(status_1)s;

-- edits, ends_from_outside
UPDATE tasks
SET progress=%(progress)s, progress_detail=%(progress_detail)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;

-- edits, ends_from_outside
UPDATE tasks
SET progress=%(progress)s, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;

-- attempts, bulk, cancels, counts, deletions, edits, ends_from_outside, errors, folding, live, maintenance, pages,
-- queues_and_workers, retention, retries, stats
UPDATE tasks
SET status=%(status)s, error_type=%(error_type)s, error_message=%(error_message)s, attempt=(tasks.attempt +
    %(attempt_1)s), claim_id=%(claim_id)s::UUID, worker=%(worker)s, worker_id=%(worker_id)s::UUID,
    worker_pid=%(worker_pid)s, due_at=%(due_at)s, turn=%(turn)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp(), started_at=clock_timestamp()
WHERE (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.id = %(id_1)s::UUID
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

-- bulk, cancels, counts, deletions, errors, folding, live, pages, queues_and_workers, retention, stats, worker_ends
UPDATE tasks
SET status=%(status)s, progress=%(progress)s, result=%(p_result)s, active_key=%(active_key)s, held=%(held)s,
    claim_id=%(claim_id)s::UUID, worker_pid=%(worker_pid)s, due_at=%(due_at)s, turn=%(turn)s, version=(tasks.version +
    %(version_1)s), updated_at=clock_timestamp(), started_at=(tasks.started_at + %(p_begun_after)s * interval '1
    second'), finished_at=clock_timestamp()
WHERE (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.id = %(p_task_id)s::UUID
AND tasks.attempt = %(p_attempt)s
RETURNING tasks.id;

-- edits, ends_from_outside
UPDATE tasks
SET status=%(status)s, progress=%(progress)s, result=%(result)s, active_key=%(active_key)s, held=%(held)s,
    claim_id=%(claim_id)s::UUID, worker_pid=%(worker_pid)s, due_at=%(due_at)s, turn=%(turn)s, version=(tasks.version +
    %(version_1)s), updated_at=clock_timestamp(), finished_at=clock_timestamp()
WHERE (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.id = %(id_1)s::UUID
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

-- bulk, cancels, counts, edits, ends_from_outside, errors, limits_of_submits, live, maintenance, pages,
-- places_of_users, queues_and_workers, retries, stats, unique_keys, worker_claims, worker_ends
UPDATE tasks
SET status=%(status)s, status_reason=%(status_reason)s, active_key=%(active_key)s, held=%(held)s,
    claim_id=%(claim_id)s::UUID, worker_pid=%(worker_pid)s, due_at=%(due_at)s, turn=%(turn)s, version=(tasks.version +
    %(version_1)s), updated_at=clock_timestamp(), finished_at=clock_timestamp()
WHERE (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.id = %(id_1)s::UUID
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

-- bulk, folding, retries, unique_keys
UPDATE tasks
SET status=%(status)s, status_reason=%(status_reason)s, progress=%(progress)s, progress_detail=%(progress_detail)s,
    result=%(result)s, error_type=%(error_type)s, error_message=%(error_message)s,
    error_fingerprint=%(error_fingerprint)s, run_at=%(run_at)s, expires_at=CASE WHEN (tasks.expires_at >
    clock_timestamp()) THEN tasks.expires_at ELSE NULL END, active_key=tasks.unique_key, user_limited=%(user_limited)s,
    held=CASE WHEN (tasks."limit" IS NOT NULL) THEN %(param_1)s END, claim_id=%(claim_id)s::UUID,
    worker_pid=%(worker_pid)s, failures=%(failures)s, crashes=%(crashes)s, celery_id=%(celery_id)s::UUID,
    generation=(tasks.generation + %(generation_1)s), due_at=clock_timestamp(), turn=%(turn)s,
    delete_requested_at=%(delete_requested_at)s, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(),
    finished_at=%(finished_at)s, cancel_requested_at=%(cancel_requested_at)s
WHERE (CAST(tasks.status AS TEXT) || '') IN (%(param_2_1)s, …)
AND tasks.id = %(id_1)s::UUID
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

-- cancels, worker_claims, worker_ends
UPDATE tasks
SET version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(), cancel_requested_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.cancel_requested_at IS NULL;

-- bulk, limits, limits_of_submits, places_of_limits, places_of_users, worker_agent
WITH admitted AS (
  UPDATE tasks
  SET held=%(param_1)s, turn=greatest(tasks.turn, coalesce((
        SELECT max(claimed_turns.turn) AS max_1
        FROM claimed_turns
        WHERE claimed_turns.queue = tasks.queue
        AND claimed_turns.priority = tasks.priority), %(coalesce_1)s))
  WHERE tasks.id = ANY (%(p_ids)s::UUID[])
  AND tasks.status = %(status_1)s
  RETURNING tasks.id, tasks.attempt, tasks.user_id, tasks.queue, tasks."limit", tasks.limit_key)
INSERT INTO limit_places (task_id, attempt, limit_name, limit_key)
SELECT admitted.id, admitted.attempt + %(attempt_1)s AS anon_1, admitted."limit", CAST(admitted.limit_key AS TEXT) AS
    limit_key
FROM admitted
ON CONFLICT (task_id, attempt, limit_name)
DO UPDATE SET limit_key = excluded.limit_key, admitted_at = clock_timestamp();

-- api_keys, retention
WITH batch AS (
  SELECT api_keys.id AS id
  FROM api_keys
  WHERE api_keys.revoked_at < statement_timestamp() - %(statement_timestamp_1)s OR api_keys.expires_at <
      statement_timestamp() - %(statement_timestamp_1)s
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM api_keys
WHERE api_keys.id IN (
  SELECT batch.id
  FROM batch)
RETURNING api_keys.id;

-- bulk, maintenance, retention
WITH batch AS (
  SELECT bulk_deeds.id AS id
  FROM bulk_deeds
  WHERE bulk_deeds.finished_at < clock_timestamp() - %(clock_timestamp_1)s
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM bulk_deeds
WHERE bulk_deeds.id IN (
  SELECT batch.id
  FROM batch);

-- folding, maintenance, retention
WITH batch AS (
  SELECT error_groups.fingerprint AS fingerprint
  FROM error_groups
  WHERE error_groups.count = %(count_1)s
  AND error_groups.last_seen < statement_timestamp() - %(statement_timestamp_1)s
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM error_groups
WHERE error_groups.fingerprint IN (
  SELECT batch.fingerprint
  FROM batch)
AND error_groups.count = %(count_1)s;

-- api_keys, retention
WITH batch AS (
  SELECT login_blocks.user_id AS user_id, login_blocks.block AS block
  FROM login_blocks
  WHERE login_blocks.signed_in_at < statement_timestamp() - %(statement_timestamp_1)s
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM login_blocks
WHERE (login_blocks.user_id, login_blocks.block) IN (
  SELECT batch.user_id, batch.block
  FROM batch);

-- api_keys, retention
WITH batch AS (
  SELECT login_failures.key AS key
  FROM login_failures
  WHERE login_failures.window_started_at < statement_timestamp() - %(statement_timestamp_1)s
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM login_failures
WHERE login_failures.key IN (
  SELECT batch.key
  FROM batch);

-- api_keys, retention
WITH batch AS (
  SELECT login_sessions.id AS id
  FROM login_sessions
  WHERE login_sessions.expires_at < statement_timestamp() - %(statement_timestamp_1)s
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM login_sessions
WHERE login_sessions.id IN (
  SELECT batch.id
  FROM batch)
RETURNING login_sessions.id;

-- maintenance, retention
WITH batch AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.delete_requested_at IS NOT NULL
  AND tasks.status IN (%(status_1_1)s, …)
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
DELETE FROM tasks
WHERE tasks.id IN (
  SELECT batch.id
  FROM batch);

-- maintenance, retention
WITH batch AS (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.expires_at <= statement_timestamp()
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED)
UPDATE tasks
SET status=%(status)s, status_reason=%(status_reason)s, active_key=%(active_key)s, held=%(held)s,
    claim_id=%(claim_id)s::UUID, worker_pid=%(worker_pid)s, due_at=%(due_at)s, turn=%(turn)s, version=(tasks.version +
    %(version_1)s), updated_at=clock_timestamp(), finished_at=clock_timestamp()
WHERE tasks.status = %(status_1)s
AND tasks.id IN (
  SELECT batch.id
  FROM batch)
AND tasks.expires_at <= statement_timestamp()
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

-- attempts, bulk, cancels, counts, deletions, edits, ends_from_outside, errors, folding, idempotency, limits,
-- limits_of_submits, live, logs, maintenance, pages, places_of_limits, places_of_users, queues_and_workers, retention,
-- retries, stats, submits, unique_keys, webhooks, worker_agent, worker_claims, worker_ends
WITH due AS (
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.queue AS queue, tasks.priority AS priority
  FROM tasks
  WHERE tasks.id = ANY (%(p_task_ids)s::UUID[])
  AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s
  AND tasks.turn IS NULL
  AND tasks.due_at <= statement_timestamp()
  ORDER BY tasks.due_at
  LIMIT %(param_2)s
  FOR UPDATE SKIP LOCKED), placed AS (
  SELECT due.id AS id, due.user_id AS user_id, due.queue AS queue, due.priority AS priority, row_number() OVER
      (PARTITION BY due.user_id, due.queue, due.priority
    ORDER BY due.id) AS nth
  FROM due
  WHERE due.id IS NOT NULL), wanted AS (
  SELECT placed.user_id AS user_id, placed.queue AS queue, placed.priority AS priority, count(*) AS number,
      CAST(coalesce(min(users.weight), %(coalesce_2)s) AS FLOAT) AS weight
  FROM placed
  LEFT OUTER JOIN users ON users.id = placed.user_id
  GROUP BY placed.user_id, placed.queue, placed.priority), at AS (
  SELECT wanted.user_id AS user_id, wanted.queue AS queue, wanted.priority AS priority, wanted.number AS number,
      wanted.weight AS weight, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = wanted.queue
      AND claimed_turns.priority = wanted.priority), %(coalesce_1)s) AS clock
  FROM wanted), given AS (
  INSERT INTO user_turns (user_id, queue, priority, clock, last)
  SELECT at.user_id AS user_id, at.queue AS queue, at.priority AS priority, at.clock AS clock, at.clock + at.number /
      CAST(at.weight AS FLOAT) AS anon_1
  FROM at
  ORDER BY at.user_id, at.queue, at.priority
  ON CONFLICT (user_id, queue, priority)
  DO UPDATE SET last = (greatest(user_turns.last, excluded.clock) + (excluded.last - excluded.clock)), clock =
      excluded.clock
  RETURNING user_turns.user_id, user_turns.queue, user_turns.priority, user_turns.last)
UPDATE tasks
SET turn=turns.turn
FROM (
  SELECT placed.id AS id, given.last - (wanted.number - placed.nth) / CAST(wanted.weight AS FLOAT) AS turn
  FROM placed, given, wanted
  WHERE placed.user_id = wanted.user_id
  AND placed.queue = wanted.queue
  AND placed.priority = wanted.priority
  AND placed.user_id = given.user_id
  AND placed.queue = given.queue
  AND placed.priority = given.priority) AS turns
WHERE tasks.id = turns.id;

-- maintenance, retention
WITH due AS (
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.queue AS queue, tasks.priority AS priority
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NULL
  AND tasks.due_at <= statement_timestamp()
  ORDER BY tasks.due_at
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED), placed AS (
  SELECT due.id AS id, due.user_id AS user_id, due.queue AS queue, due.priority AS priority, row_number() OVER
      (PARTITION BY due.user_id, due.queue, due.priority
    ORDER BY due.id) AS nth
  FROM due
  WHERE due.id IS NOT NULL), wanted AS (
  SELECT placed.user_id AS user_id, placed.queue AS queue, placed.priority AS priority, count(*) AS number,
      CAST(coalesce(min(users.weight), %(coalesce_2)s) AS FLOAT) AS weight
  FROM placed
  LEFT OUTER JOIN users ON users.id = placed.user_id
  GROUP BY placed.user_id, placed.queue, placed.priority), at AS (
  SELECT wanted.user_id AS user_id, wanted.queue AS queue, wanted.priority AS priority, wanted.number AS number,
      wanted.weight AS weight, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = wanted.queue
      AND claimed_turns.priority = wanted.priority), %(coalesce_1)s) AS clock
  FROM wanted), given AS (
  INSERT INTO user_turns (user_id, queue, priority, clock, last)
  SELECT at.user_id AS user_id, at.queue AS queue, at.priority AS priority, at.clock AS clock, at.clock + at.number /
      CAST(at.weight AS FLOAT) AS anon_1
  FROM at
  ORDER BY at.user_id, at.queue, at.priority
  ON CONFLICT (user_id, queue, priority)
  DO UPDATE SET last = (greatest(user_turns.last, excluded.clock) + (excluded.last - excluded.clock)), clock =
      excluded.clock
  RETURNING user_turns.user_id, user_turns.queue, user_turns.priority, user_turns.last)
UPDATE tasks
SET turn=turns.turn
FROM (
  SELECT placed.id AS id, given.last - (wanted.number - placed.nth) / CAST(wanted.weight AS FLOAT) AS turn
  FROM placed, given, wanted
  WHERE placed.user_id = wanted.user_id
  AND placed.queue = wanted.queue
  AND placed.priority = wanted.priority
  AND placed.user_id = given.user_id
  AND placed.queue = given.queue
  AND placed.priority = given.priority) AS turns
WHERE tasks.id = turns.id;

-- logs, webhooks, worker_agent, worker_claims, worker_ends
WITH found AS (
  SELECT next_rows.id AS id, next_rows.turn AS turn, next_rows.is_short AS is_short, anon_1.queue AS queue,
      anon_1.priority AS priority, anon_1.place AS place
  FROM unnest(CAST($5 AS TEXT[]), CAST($6 AS TEXT[]), CAST($7 AS FLOAT[]), CAST($8 AS UUID[])) WITH ORDINALITY AS
      anon_1(queue, priority, floor, floor_id, place)
  JOIN LATERAL (
    SELECT row.id AS id, row.turn AS turn, row.celery_task_name = ANY (CAST($9 AS TEXT[]))
    AND row.crashes = 0
    AND row.rerun_lost AS is_short
    FROM tasks AS row
    WHERE row.queue = anon_1.queue
    AND row.priority = anon_1.priority
    AND row.status = 'pending'
    AND row.turn IS NOT NULL
    AND row.held IS NULL
    AND (row.turn, row.id) >= (anon_1.floor, anon_1.floor_id)
    AND NOT (EXISTS (
        SELECT *
        FROM claim_holds
        WHERE claim_holds.kind = 'queue'
        AND claim_holds.name = anon_1.queue))
    AND row.celery_task_name = ANY (CAST($10 AS TEXT[]))
    AND coalesce(row.expires_at, 'infinity') > clock_timestamp()
    ORDER BY row.turn, row.id
    LIMIT 1
    FOR UPDATE SKIP LOCKED) AS next_rows ON true
  LIMIT 1), picked AS (
  SELECT ranked.id AS id, ranked.turn AS turn, ranked.queue AS queue, ranked.priority AS priority, ranked.place AS place
  FROM (
    SELECT found.id AS id, found.turn AS turn, found.is_short AS is_short, found.queue AS queue, found.priority AS
        priority, found.place AS place, row_number() OVER (
      ORDER BY found.place, found.turn, found.id) AS number, bool_and(found.is_short) OVER (
      ORDER BY found.place, found.turn, found.id ROWS BETWEEN UNBOUNDED PRECEDING
      AND CURRENT ROW) AS all_short
    FROM found) AS ranked
  WHERE ranked.number = 1 OR ranked.all_short), ticked AS (
  INSERT INTO claimed_turns (queue, priority, turn)
  SELECT picked.queue AS queue, picked.priority AS priority, max(picked.turn) AS max_1
  FROM picked
  GROUP BY picked.queue, picked.priority
  ON CONFLICT
  DO NOTHING)
UPDATE tasks
SET status='running', error_type=NULL, error_message=NULL, attempt=(tasks.attempt + 1), claim_id=$1::UUID, worker=$2,
    worker_id=$3::UUID, worker_pid=$4, due_at=NULL, turn=NULL, version=(tasks.version + 1),
    updated_at=clock_timestamp(), started_at=clock_timestamp()
FROM picked
WHERE (CAST(tasks.status AS TEXT) || '') = 'pending'
AND tasks.id = picked.id
RETURNING tasks.id, tasks.attempt, tasks.args, tasks.kwargs, tasks.failures, tasks.max_attempts,
    tasks.max_attempts_named, tasks.retry_backoff_seconds, tasks.celery_task_name, tasks.celery_id, tasks.queue,
    tasks.priority, tasks.timeout_seconds, tasks."limit", tasks.user_limited, picked.place, picked.turn;

-- places_of_limits, places_of_users
WITH found AS (
  SELECT next_rows.id AS id, next_rows.turn AS turn, next_rows.is_short AS is_short, anon_1.queue AS queue,
      anon_1.priority AS priority, anon_1.place AS place
  FROM unnest(CAST(%(p_queues)s AS TEXT[]), CAST(%(p_priorities)s AS TEXT[]), CAST(%(p_floors)s AS FLOAT[]),
      CAST(%(p_floor_ids)s AS UUID[])) WITH ORDINALITY AS anon_1(queue, priority, floor, floor_id, place)
  JOIN LATERAL (
    SELECT row.id AS id, row.turn AS turn, row.celery_task_name = ANY (CAST(%(p_short)s AS TEXT[]))
    AND row.crashes = %(crashes_1)s
    AND row.rerun_lost AS is_short
    FROM tasks AS row
    WHERE row.queue = anon_1.queue
    AND row.priority = anon_1.priority
    AND row.status = %(status_1)s
    AND row.turn IS NOT NULL
    AND row.held IS NULL
    AND (row.turn, row.id) >= (anon_1.floor, anon_1.floor_id)
    AND NOT (EXISTS (
        SELECT *
        FROM claim_holds
        WHERE claim_holds.kind = %(kind_1)s
        AND claim_holds.name = anon_1.queue))
    AND row.celery_task_name = ANY (CAST(%(p_names)s AS TEXT[]))
    AND coalesce(row.expires_at, %(coalesce_1)s) > clock_timestamp()
    ORDER BY row.turn, row.id
    LIMIT 1
    FOR UPDATE SKIP LOCKED) AS next_rows ON true
  LIMIT 1), picked AS (
  SELECT ranked.id AS id, ranked.turn AS turn, ranked.queue AS queue, ranked.priority AS priority, ranked.place AS place
  FROM (
    SELECT found.id AS id, found.turn AS turn, found.is_short AS is_short, found.queue AS queue, found.priority AS
        priority, found.place AS place, row_number() OVER (
      ORDER BY found.place, found.turn, found.id) AS number, bool_and(found.is_short) OVER (
      ORDER BY found.place, found.turn, found.id ROWS BETWEEN UNBOUNDED PRECEDING
      AND CURRENT ROW) AS all_short
    FROM found) AS ranked
  WHERE ranked.number = %(number_1)s OR ranked.all_short), ticked AS (
  INSERT INTO claimed_turns (queue, priority, turn)
  SELECT picked.queue AS queue, picked.priority AS priority, max(picked.turn) AS max_1
  FROM picked
  GROUP BY picked.queue, picked.priority
  ON CONFLICT
  DO NOTHING)
UPDATE tasks
SET status=%(status)s, error_type=%(error_type)s, error_message=%(error_message)s, attempt=(tasks.attempt +
    %(attempt_1)s), claim_id=%(p_claim_id)s::UUID, worker=%(p_worker)s, worker_id=%(p_worker_id)s::UUID,
    worker_pid=%(p_worker_pid)s, due_at=%(due_at)s, turn=%(turn)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp(), started_at=clock_timestamp()
FROM picked
WHERE (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.id = picked.id
RETURNING tasks.id, tasks.attempt, tasks.args, tasks.kwargs, tasks.failures, tasks.max_attempts,
    tasks.max_attempts_named, tasks.retry_backoff_seconds, tasks.celery_task_name, tasks.celery_id, tasks.queue,
    tasks.priority, tasks.timeout_seconds, tasks."limit", tasks.user_limited, picked.place, picked.turn;

-- retries, worker_ends
WITH moved AS (
  UPDATE tasks
  SET args=coalesce(%(p_args)s, tasks.args), kwargs=coalesce(%(p_kwargs)s, tasks.kwargs), status=%(param_2)s,
      status_reason=%(param_3)s, progress=%(param_4)s, progress_detail=%(param_5)s, error_type=%(p_error_type)s,
      error_message=%(p_error_message)s, error_fingerprint=%(param_6)s, run_at=(statement_timestamp() + %(p_delay)s *
      interval '1 second'), max_attempts=greatest(tasks.max_attempts, tasks.failures + %(failures_1)s),
      active_key=tasks.unique_key, held=CASE WHEN (tasks.user_limited IS true) THEN %(param_7)s WHEN (tasks."limit" IS
      NOT NULL) THEN %(param_8)s END, claim_id=%(param_9)s::UUID, worker_pid=%(param_10)s, failures=(tasks.failures +
      %(failures_2)s), due_at=(statement_timestamp() + %(p_delay)s * interval '1 second'), turn=%(param_11)s,
      attached_bytes=(tasks.attached_bytes + %(param_12)s + coalesce(octet_length(%(p_error_message)s), %(coalesce_1)s)
      + coalesce(octet_length(%(p_traceback)s), %(coalesce_2)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), started_at=(tasks.started_at + %(p_begun_after)s * interval '1 second'),
      finished_at=%(param_13)s
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_14)s
  AND tasks.id = %(p_task_id)s::UUID
  AND tasks.attempt = %(p_attempt)s
  AND tasks.cancel_requested_at IS NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, %(p_error_type)s AS anon_2, %(p_error_message)s AS anon_3,
      %(p_traceback)s AS anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

-- attempts, bulk, counts, deletions, errors, folding, live, pages, queues_and_workers, retries, stats, worker_ends
WITH moved AS (
  UPDATE tasks
  SET status=%(param_2)s, error_type=%(p_error_type)s, error_message=%(p_error_message)s,
      error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(p_error_type)s AS TEXT), CAST(%(p_error_key)s AS TEXT)), 'UTF8')),
      'hex'), 32), active_key=%(param_3)s, held=%(param_4)s, claim_id=%(param_5)s::UUID, worker_pid=%(param_6)s,
      failures=least(tasks.failures + %(failures_1)s, tasks.max_attempts), due_at=%(param_7)s, turn=%(param_8)s,
      attached_bytes=(tasks.attached_bytes + %(param_9)s + coalesce(octet_length(%(p_error_message)s), %(coalesce_1)s) +
      coalesce(octet_length(%(p_traceback)s), %(coalesce_2)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), started_at=(tasks.started_at + %(p_begun_after)s * interval '1 second'),
      finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_10)s
  AND tasks.id = %(p_task_id)s::UUID
  AND tasks.attempt = %(p_attempt)s
  AND tasks.cancel_requested_at IS NULL
  RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at),
      history AS (
  INSERT INTO task_attempts (task_id, number, worker, started_at, finished_at, outcome, error_type, error_message,
      traceback)
  SELECT moved.id AS id, moved.attempt AS attempt, moved.worker AS worker, moved.started_at AS started_at,
      moved.updated_at AS updated_at, %(param_1)s AS anon_1, %(p_error_type)s AS anon_2, %(p_error_message)s AS anon_3,
      %(p_traceback)s AS anon_4
  FROM moved)
SELECT moved.id, moved.status, moved.version, moved.attempt, moved.worker, moved.started_at, moved.updated_at
FROM moved;

-- errors, stats
WITH moved AS (
  UPDATE tasks
  SET status=%(param_4)s, error_type=%(param_5)s, error_message=%(param_6)s,
      error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_7)s AS TEXT), CAST(%(param_8)s AS TEXT)), 'UTF8')), 'hex'),
      32), active_key=%(param_9)s, held=%(param_10)s, claim_id=%(param_11)s::UUID, worker_pid=%(param_12)s,
      due_at=%(param_13)s, turn=%(param_14)s, attached_bytes=(tasks.attached_bytes + %(param_15)s +
      coalesce(octet_length(%(param_16)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_17)s
  AND tasks.id = %(id_1)s::UUID
  AND tasks.cancel_requested_at IS NULL
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

-- edits, ends_from_outside
WITH moved AS (
  UPDATE tasks
  SET status=%(param_4)s, progress=%(param_5)s, error_type=%(param_6)s, error_message=%(param_7)s,
      error_fingerprint=left(encode(sha256(convert_to(concat_ws(chr(10), CAST(tasks.user_id AS TEXT),
      CAST(tasks.celery_task_name AS TEXT), CAST(%(param_8)s AS TEXT), CAST(%(param_9)s AS TEXT)), 'UTF8')), 'hex'),
      32), active_key=%(param_10)s, held=%(param_11)s, claim_id=%(param_12)s::UUID, worker_pid=%(param_13)s,
      due_at=%(param_14)s, turn=%(param_15)s, attached_bytes=(tasks.attached_bytes + %(param_16)s +
      coalesce(octet_length(%(param_17)s), %(coalesce_1)s)), version=(tasks.version + %(version_1)s),
      updated_at=clock_timestamp(), finished_at=clock_timestamp()
  WHERE (CAST(tasks.status AS TEXT) || '') = %(param_18)s
  AND tasks.id = %(id_1)s::UUID
  AND tasks.cancel_requested_at IS NULL
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

-- attempts, bulk, cancels, counts, deletions, edits, ends_from_outside, errors, folding, idempotency, live, logs,
-- maintenance, pages, places_of_users, queues_and_workers, retention, retries, stats, submits, unique_keys, webhooks,
-- worker_agent, worker_claims, worker_ends
WITH new_rows AS MATERIALIZED (
  SELECT "new".name AS name, "new".task_type AS task_type, "new".celery_task_name AS celery_task_name, "new".args AS
      args, "new".kwargs AS kwargs, "new".priority AS priority, "new".delay_seconds AS delay_seconds, "new".expires_at
      AS expires_at, "new".timeout_seconds AS timeout_seconds, "new".max_attempts AS max_attempts,
      "new".retry_backoff_seconds AS retry_backoff_seconds, "new".tags AS tags, "new".metadata AS metadata, "new".id AS
      id, "new".celery_id AS celery_id, "new".user_id AS user_id, "new".queue AS queue, "new".max_attempts_named AS
      max_attempts_named, "new".rerun_lost AS rerun_lost, "new".attached_bytes AS attached_bytes, "new".run_at AS run_at
  FROM json_to_recordset(CAST(%(p_rows)s AS JSON)) AS "new"(name TEXT, task_type TEXT, celery_task_name TEXT, args TEXT,
      kwargs TEXT, priority TEXT, delay_seconds FLOAT, expires_at TIMESTAMP WITH TIME ZONE, timeout_seconds FLOAT,
      max_attempts INTEGER, retry_backoff_seconds FLOAT, tags TEXT[], metadata JSONB, id UUID, celery_id UUID, user_id
      UUID, queue TEXT, max_attempts_named BOOLEAN, rerun_lost BOOLEAN, attached_bytes BIGINT, run_at TIMESTAMP WITH
      TIME ZONE)), counted AS (
  INSERT INTO task_submissions (user_id, task_type, queue, priority, at, number)
  SELECT new_rows.user_id AS user_id, new_rows.task_type AS task_type, new_rows.queue AS queue, new_rows.priority AS
      priority, statement_timestamp() AS statement_timestamp_1, count(*) AS count_1
  FROM new_rows
  GROUP BY new_rows.user_id, new_rows.task_type, new_rows.queue, new_rows.priority), placed AS (
  SELECT new_rows.id AS id, new_rows.user_id AS user_id, new_rows.queue AS queue, new_rows.priority AS priority,
      row_number() OVER (PARTITION BY new_rows.user_id, new_rows.queue, new_rows.priority
    ORDER BY new_rows.id) AS nth
  FROM new_rows
  WHERE coalesce(coalesce(new_rows.run_at, statement_timestamp() + new_rows.delay_seconds * interval '1 second'),
      statement_timestamp()) <= statement_timestamp()
  AND %(p_place)s), wanted AS (
  SELECT placed.user_id AS user_id, placed.queue AS queue, placed.priority AS priority, count(*) AS number,
      CAST(coalesce(min(users.weight), %(coalesce_3)s) AS FLOAT) AS weight
  FROM placed
  LEFT OUTER JOIN users ON users.id = placed.user_id
  GROUP BY placed.user_id, placed.queue, placed.priority), at AS (
  SELECT wanted.user_id AS user_id, wanted.queue AS queue, wanted.priority AS priority, wanted.number AS number,
      wanted.weight AS weight, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = wanted.queue
      AND claimed_turns.priority = wanted.priority), %(coalesce_2)s) AS clock
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

-- bulk, idempotency, limits, limits_of_submits, places_of_limits, places_of_users, retries, unique_keys, worker_agent
WITH new_rows AS MATERIALIZED (
  SELECT "new".name AS name, "new".task_type AS task_type, "new".celery_task_name AS celery_task_name, "new".args AS
      args, "new".kwargs AS kwargs, "new".priority AS priority, "new".delay_seconds AS delay_seconds, "new".expires_at
      AS expires_at, "new".timeout_seconds AS timeout_seconds, "new".max_attempts AS max_attempts,
      "new".retry_backoff_seconds AS retry_backoff_seconds, "new".tags AS tags, "new".metadata AS metadata, "new".id AS
      id, "new".celery_id AS celery_id, "new".user_id AS user_id, "new".queue AS queue, "new".max_attempts_named AS
      max_attempts_named, "new".rerun_lost AS rerun_lost, "new".attached_bytes AS attached_bytes, "new".unique_key AS
      unique_key, "new".on_conflict AS on_conflict, "new".active_key AS active_key, "new"."limit" AS "limit",
      "new".limit_key AS limit_key, "new".user_limited AS user_limited, "new".held AS held, "new".retry_of AS retry_of,
      "new".run_at AS run_at
  FROM json_to_recordset(CAST(%(p_rows)s AS JSON)) AS "new"(name TEXT, task_type TEXT, celery_task_name TEXT, args TEXT,
      kwargs TEXT, priority TEXT, delay_seconds FLOAT, expires_at TIMESTAMP WITH TIME ZONE, timeout_seconds FLOAT,
      max_attempts INTEGER, retry_backoff_seconds FLOAT, tags TEXT[], metadata JSONB, id UUID, celery_id UUID, user_id
      UUID, queue TEXT, max_attempts_named BOOLEAN, rerun_lost BOOLEAN, attached_bytes BIGINT, unique_key TEXT,
      on_conflict TEXT, active_key TEXT, "limit" TEXT, limit_key TEXT, user_limited BOOLEAN, held TEXT, retry_of UUID,
      run_at TIMESTAMP WITH TIME ZONE)), counted AS (
  INSERT INTO task_submissions (user_id, task_type, queue, priority, at, number)
  SELECT new_rows.user_id AS user_id, new_rows.task_type AS task_type, new_rows.queue AS queue, new_rows.priority AS
      priority, statement_timestamp() AS statement_timestamp_1, count(*) AS count_1
  FROM new_rows
  GROUP BY new_rows.user_id, new_rows.task_type, new_rows.queue, new_rows.priority), placed AS (
  SELECT new_rows.id AS id, new_rows.user_id AS user_id, new_rows.queue AS queue, new_rows.priority AS priority,
      row_number() OVER (PARTITION BY new_rows.user_id, new_rows.queue, new_rows.priority
    ORDER BY new_rows.id) AS nth
  FROM new_rows
  WHERE coalesce(coalesce(new_rows.run_at, statement_timestamp() + new_rows.delay_seconds * interval '1 second'),
      statement_timestamp()) <= statement_timestamp()
  AND %(p_place)s), wanted AS (
  SELECT placed.user_id AS user_id, placed.queue AS queue, placed.priority AS priority, count(*) AS number,
      CAST(coalesce(min(users.weight), %(coalesce_3)s) AS FLOAT) AS weight
  FROM placed
  LEFT OUTER JOIN users ON users.id = placed.user_id
  GROUP BY placed.user_id, placed.queue, placed.priority), at AS (
  SELECT wanted.user_id AS user_id, wanted.queue AS queue, wanted.priority AS priority, wanted.number AS number,
      wanted.weight AS weight, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = wanted.queue
      AND claimed_turns.priority = wanted.priority), %(coalesce_2)s) AS clock
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
    max_attempts_named, rerun_lost, attached_bytes, unique_key, on_conflict, active_key, "limit", limit_key,
    user_limited, held, retry_of, run_at, due_at, created_at, updated_at, turn)
SELECT new_rows.name, new_rows.task_type, new_rows.celery_task_name, new_rows.args, new_rows.kwargs, new_rows.priority,
    new_rows.delay_seconds, new_rows.expires_at, new_rows.timeout_seconds, new_rows.max_attempts,
    new_rows.retry_backoff_seconds, new_rows.tags, new_rows.metadata, new_rows.id, new_rows.celery_id, new_rows.user_id,
    new_rows.queue, new_rows.max_attempts_named, new_rows.rerun_lost, new_rows.attached_bytes, new_rows.unique_key,
    new_rows.on_conflict, new_rows.active_key, new_rows."limit", new_rows.limit_key, new_rows.user_limited,
    new_rows.held, new_rows.retry_of, coalesce(new_rows.run_at, statement_timestamp() + new_rows.delay_seconds *
    interval '1 second') AS coalesce_1, CASE WHEN (coalesce(new_rows.run_at, statement_timestamp() +
    new_rows.delay_seconds * interval '1 second') > statement_timestamp()) THEN coalesce(new_rows.run_at,
    statement_timestamp() + new_rows.delay_seconds * interval '1 second') ELSE statement_timestamp() END AS anon_1,
    statement_timestamp() AS statement_timestamp_1, statement_timestamp() AS statement_timestamp__1, turns.turn
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

-- deletions, retention
WITH old AS (
  SELECT of_user.id, of_user.bytes
  FROM (
    SELECT user_id
    FROM task_totals
    UNION
    SELECT user_id
    FROM task_count_changes) AS owners
  CROSS JOIN LATERAL (
    SELECT id, 1024 + tasks.attached_bytes + coalesce(octet_length(tasks.args), 0) +
        coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
        coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) AS bytes
    FROM tasks
    WHERE user_id = owners.user_id
    AND finished_at < statement_timestamp() - %(age)s
    ORDER BY finished_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED ) AS of_user
  LIMIT %(limit)s ), summed AS (
  SELECT id, sum(bytes) OVER (
    ORDER BY id) - bytes AS before
  FROM old )
DELETE FROM tasks
WHERE id IN (
  SELECT id
  FROM summed
  WHERE before < %(bytes)s)
AND finished_at < statement_timestamp() - %(age)s;

-- errors, folding, maintenance, retention, stats
WITH taken AS (
  DELETE FROM task_count_changes
  WHERE ctid = ANY(ARRAY(
      SELECT ctid
      FROM task_count_changes
      LIMIT %(batch)s
      FOR UPDATE SKIP LOCKED ))
  RETURNING user_id, status, task_type, celery_task_name, priority, queue, number, ended_at, waited, ran, error,
      error_type, error_message ), kinds AS (
  INSERT INTO task_counts (user_id, status, task_type, celery_task_name, priority, queue, number)
  SELECT user_id, status, task_type, celery_task_name, priority, queue, sum(number)
  FROM taken
  GROUP BY user_id, status, task_type, celery_task_name, priority, queue
  HAVING sum(number) <> 0
  ORDER BY user_id, status, task_type, celery_task_name, priority, queue
  ON CONFLICT (user_id, task_type, celery_task_name, priority, queue, status)
  DO UPDATE SET number = task_counts.number + excluded.number ), totals AS (
  INSERT INTO task_totals (user_id, status, number)
  SELECT user_id, status, sum(number)
  FROM taken
  GROUP BY 1, 2
  HAVING sum(number) <> 0
  ORDER BY 1, 2
  ON CONFLICT (user_id, status)
  DO UPDATE SET number = task_totals.number + excluded.number )
SELECT (
  SELECT count(*)
  FROM taken), statement_timestamp(), told.*
FROM (
  SELECT 1) AS once
LEFT JOIN (
  SELECT user_id, status, task_type, celery_task_name, priority, queue, date_bin('60 seconds', ended_at, 'epoch'), CASE
      WHEN waited < 0.001 THEN 0 WHEN waited IS NOT NULL THEN least(126, 1 + floor(4 * ln(waited / 0.001) / ln(2)))
      END::integer, CASE WHEN ran < 0.001 THEN 0 WHEN ran IS NOT NULL THEN least(126, 1 + floor(4 * ln(ran / 0.001) /
      ln(2))) END::integer, error, sum(number)::bigint, count(ended_at), min(ended_at), max(ended_at), max(error_type),
      max(error_message)
  FROM taken
  WHERE ended_at IS NOT NULL OR error IS NOT NULL
  GROUP BY user_id, status, task_type, celery_task_name, priority, queue, date_bin('60 seconds', ended_at, 'epoch'),
      CASE WHEN waited < 0.001 THEN 0 WHEN waited IS NOT NULL THEN least(126, 1 + floor(4 * ln(waited / 0.001) / ln(2)))
      END::integer, CASE WHEN ran < 0.001 THEN 0 WHEN ran IS NOT NULL THEN least(126, 1 + floor(4 * ln(ran / 0.001) /
      ln(2))) END::integer, error ) AS told ON true;

-- folding, maintenance, retention
WITH taken AS (
  DELETE FROM task_submissions
  WHERE ctid = ANY(ARRAY(
      SELECT ctid
      FROM task_submissions
      LIMIT %(batch)s
      FOR UPDATE SKIP LOCKED ))
  RETURNING user_id, at, task_type, queue, priority, number )
SELECT statement_timestamp(), count(*), user_id, date_bin('60 seconds', at, 'epoch'), task_type, queue, priority,
    sum(number)::bigint
FROM taken
GROUP BY user_id, date_bin('60 seconds', at, 'epoch'), task_type, queue, priority;

-- api_keys, submits
WITH taken AS (
  SELECT api_keys.id AS id
  FROM api_keys
  WHERE api_keys.id = %(id_1)s::UUID
  AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < clock_timestamp() - %(clock_timestamp_1)s)
  FOR NO KEY UPDATE SKIP LOCKED)
UPDATE api_keys
SET last_used_at=clock_timestamp()
WHERE api_keys.id IN (
  SELECT taken.id
  FROM taken)
RETURNING api_keys.id;

-- maintenance, places_of_limits
WITH unknown AS (
  SELECT front.id AS id
  FROM unnest(%(p_queues)s::TEXT[], %(p_priorities)s::TEXT[]) WITH ORDINALITY AS anon_1(queue, priority, place)
  JOIN LATERAL (
    SELECT tasks.id AS id, tasks.celery_task_name AS celery_task_name
    FROM tasks
    WHERE tasks.queue = anon_1.queue
    AND tasks.priority = anon_1.priority
    AND tasks.status = %(status_1)s
    AND tasks.turn IS NOT NULL
    AND tasks.held IS NULL
    ORDER BY tasks.turn, tasks.id
    LIMIT 500) AS front ON true
  WHERE NOT (front.celery_task_name = ANY (%(p_names)s::TEXT[]))), taken AS (
  SELECT tasks.id AS id
  FROM tasks, unknown
  WHERE tasks.id = unknown.id
  AND tasks.status = %(status_1)s
  AND tasks.held IS NULL
  FOR UPDATE OF tasks SKIP LOCKED)
UPDATE tasks
SET held=%(held)s
FROM taken
WHERE tasks.id = taken.id;
