-- Written by `python -m tests.support.golden_sql --write`.

SELECT count(*) AS count_1
FROM limit_places
WHERE limit_places.limit_name = %(limit_name_1)s
AND limit_places.ended_at IS NULL
AND limit_places.worker_id IS NOT NULL
AND limit_places.limit_key = %(limit_key_1)s;

SELECT count(*) AS count_1
FROM tasks
WHERE tasks."limit" = %(limit_1)s
AND tasks.user_id = %(user_id_1)s::UUID
AND tasks.status = %(status_1)s;

SELECT count(*) AS count_1
FROM tasks
WHERE tasks."limit" = %(limit_1)s
AND tasks.user_id = %(user_id_1)s::UUID
AND tasks.status = %(status_1)s
AND tasks.limit_key = %(limit_key_1)s;

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
  LIMIT 500
  FOR UPDATE SKIP LOCKED) AS next ON true
LIMIT 500;

SELECT tasks.id
FROM tasks
WHERE tasks."limit" = %(limit_1)s
AND tasks.user_id = %(user_id_1)s::UUID
AND tasks.status = %(status_1)s
AND tasks.limit_key = %(limit_key_1)s
ORDER BY tasks.id
LIMIT %(param_1)s;

UPDATE limits
SET concurrency=%(concurrency)s, concurrency_per_key=%(concurrency_per_key)s, on_excess=%(on_excess)s,
    updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

UPDATE limits
SET concurrency=%(concurrency)s, rate_count=%(rate_count)s, rate_period_seconds=%(rate_period_seconds)s,
    rate_per_key_count=%(rate_per_key_count)s, rate_per_key_period_seconds=%(rate_per_key_period_seconds)s,
    on_excess=%(on_excess)s, updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

UPDATE limits
SET concurrency=%(concurrency)s, rate_per_key_count=%(rate_per_key_count)s,
    rate_per_key_period_seconds=%(rate_per_key_period_seconds)s, on_excess=%(on_excess)s, updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

UPDATE limits
SET concurrency_per_key=%(concurrency_per_key)s, on_excess=%(on_excess)s, updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;

UPDATE tasks
SET name=%(name)s, task_type=%(task_type)s, args=%(args)s, kwargs=%(kwargs)s, priority=%(priority)s, queue=%(queue)s,
    tags=%(tags)s::TEXT[], metadata=%(metadata)s::JSONB, run_at=%(run_at)s, delay_seconds=%(delay_seconds)s,
    expires_at=%(expires_at)s, timeout_seconds=%(timeout_seconds)s, retry_backoff_seconds=%(retry_backoff_seconds)s,
    max_attempts=%(max_attempts)s, max_attempts_named=%(max_attempts_named)s, rerun_lost=%(rerun_lost)s,
    on_conflict=%(on_conflict)s, "limit"=%(limit)s, limit_key=%(limit_key)s, retry_of=%(retry_of)s::UUID,
    user_limited=%(user_limited)s, held=%(held)s, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;
