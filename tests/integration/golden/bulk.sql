-- Written by `python -m tests.support.golden_sql --write`.

DELETE FROM bulk_batches
WHERE bulk_batches.deed_id = %(deed_id_1)s::UUID;

DELETE FROM bulk_batches
WHERE bulk_batches.deed_id = %(deed_id_1)s::UUID
AND bulk_batches.number = %(number_1)s;

DELETE FROM tasks
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.status IN (%(status_1_1)s, …);

INSERT INTO bulk_batches (deed_id, number, task_ids)
SELECT %(param_1)s::UUID AS anon_1, anon_2.number, SUBSTRING(found.ids
  FROM anon_2.number * %(number_1)s + %(param_2)s FOR %(substring_2)s) AS substring_1
FROM (
  SELECT string_agg(uuid_send(tasks.id), %(param_3)s
    ORDER BY tasks.id) AS ids
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  AND tasks.status = %(status_1)s
  AND CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
      tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
      SELECT
      FROM claim_holds AS hold
      WHERE hold.kind = 'queue'
      AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
          'ready' END END) WHEN %(param_4)s THEN CASE WHEN false THEN %(param_5)s ELSE %(param_6)s END WHEN %(param_7)s
          THEN %(param_8)s WHEN %(param_9)s THEN %(param_10)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN
          tasks.run_at > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN
          EXISTS (
      SELECT
      FROM claim_holds AS hold
      WHERE hold.kind = 'queue'
      AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
          'ready' END END) END = %(param_11)s
  AND tasks.created_at <= %(created_at_1)s) AS found
JOIN generate_series(%(generate_series_1)s, (octet_length(found.ids) - %(octet_length_1)s) / %(param_12)s) AS
    anon_2(number) ON true;

INSERT INTO bulk_batches (deed_id, number, task_ids)
SELECT %(param_1)s::UUID AS anon_1, anon_2.number, SUBSTRING(found.ids
  FROM anon_2.number * %(number_1)s + %(param_2)s FOR %(substring_2)s) AS substring_1
FROM (
  SELECT string_agg(uuid_send(tasks.id), %(param_3)s
    ORDER BY tasks.id) AS ids
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  AND tasks.status IN (%(status_1_1)s, …)
  AND tasks.created_at <= %(created_at_1)s) AS found
JOIN generate_series(%(generate_series_1)s, (octet_length(found.ids) - %(octet_length_1)s) / %(param_4)s) AS
    anon_2(number) ON true;

INSERT INTO bulk_batches (deed_id, number, task_ids)
SELECT %(param_1)s::UUID AS anon_1, anon_2.number, SUBSTRING(found.ids
  FROM anon_2.number * %(number_1)s + %(param_2)s FOR %(substring_2)s) AS substring_1
FROM (
  SELECT string_agg(uuid_send(tasks.id), %(param_3)s
    ORDER BY tasks.id) AS ids
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID) AS found
JOIN generate_series(%(generate_series_1)s, (octet_length(found.ids) - %(octet_length_1)s) / %(param_4)s) AS
    anon_2(number) ON true;

INSERT INTO bulk_batches (deed_id, number, task_ids)
VALUES (%(deed_id)s::UUID, %(number)s, %(task_ids)s);

INSERT INTO bulk_deeds (id, user_id, deed, as_admin, within_quota)
VALUES (%(id)s::UUID, %(user_id)s::UUID, %(deed)s, %(as_admin)s, %(within_quota)s);

RELEASE SAVEPOINT sa_savepoint_2;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_totals.status AS status, task_totals.number AS number
  FROM task_totals
  WHERE task_totals.user_id = %(user_id_1)s::UUID
  AND task_totals.status IN (%(status_1_1)s, …)
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.status IN (%(status_2_1)s, …)) AS anon_1
GROUP BY anon_1.status;

SELECT bulk_batches.number, bulk_batches.task_ids
FROM bulk_batches
WHERE bulk_batches.deed_id = %(deed_id_1)s::UUID
ORDER BY bulk_batches.number
LIMIT %(param_1)s;

SELECT bulk_deeds.id, bulk_deeds.user_id, bulk_deeds.deed, bulk_deeds.as_admin, bulk_deeds.within_quota,
    bulk_deeds.state, bulk_deeds.matched, bulk_deeds.done, bulk_deeds.failed, bulk_deeds.skipped, bulk_deeds.created_at,
    bulk_deeds.finished_at
FROM bulk_deeds
WHERE bulk_deeds.id = %(id_1)s::UUID
AND bulk_deeds.state = %(state_1)s
FOR UPDATE SKIP LOCKED;

SELECT bulk_deeds.id, bulk_deeds.user_id, bulk_deeds.deed, bulk_deeds.as_admin, bulk_deeds.within_quota,
    bulk_deeds.state, bulk_deeds.matched, bulk_deeds.done, bulk_deeds.failed, bulk_deeds.skipped, bulk_deeds.created_at,
    bulk_deeds.finished_at
FROM bulk_deeds
WHERE bulk_deeds.id = %(pk_1)s::UUID;

SELECT bulk_deeds.user_id, bulk_deeds.id
FROM bulk_deeds
WHERE bulk_deeds.state = %(state_1)s
ORDER BY bulk_deeds.created_at, bulk_deeds.id;

SELECT coalesce(sum(octet_length(bulk_batches.task_ids)), %(coalesce_2)s) AS coalesce_1
FROM bulk_batches
WHERE bulk_batches.deed_id = %(deed_id_1)s::UUID;

SELECT count(*) AS count_1
FROM bulk_deeds
WHERE bulk_deeds.state = %(state_1)s
AND bulk_deeds.user_id = %(user_id_1)s::UUID;

SELECT count(*) AS count_1
FROM tasks
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.user_id = %(user_id_1)s::UUID;

SELECT limits.name, limits.concurrency, limits.concurrency_per_key, limits.rate_count, limits.rate_period_seconds,
    limits.rate_per_key_count, limits.rate_per_key_period_seconds, limits.on_excess, limits.created_at,
    limits.updated_at
FROM limits
WHERE limits.name IN (NULL)
AND (1 != 1)
ORDER BY limits.name
FOR KEY SHARE;

SELECT max(bulk_batches.number) AS max_1
FROM bulk_batches
WHERE bulk_batches.deed_id = %(deed_id_1)s::UUID;

SELECT tasks.id
FROM tasks
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.user_id = %(user_id_1)s::UUID;

SELECT tasks.id, tasks.user_id, tasks.status, tasks.cancel_requested_at, tasks.celery_task_name, tasks.priority,
    tasks.queue, tasks.unique_key, tasks."limit", octet_length(tasks.args) + octet_length(tasks.kwargs) AS anon_1,
    tasks.attached_bytes, 1024 + tasks.attached_bytes + coalesce(octet_length(tasks.args), 0) +
    coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
    coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0)
FROM tasks
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND tasks.user_id = %(user_id_1)s::UUID
ORDER BY tasks.id
FOR UPDATE SKIP LOCKED;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(user_id_1)s::UUID
AND tasks.status = %(status_1)s
AND CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) WHEN %(param_1)s THEN CASE WHEN false THEN %(param_2)s ELSE %(param_3)s END WHEN %(param_4)s
        THEN %(param_5)s WHEN %(param_6)s THEN %(param_7)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN
        tasks.run_at > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN
        EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) END = %(param_8)s
GROUP BY tasks.status;

SELECT users.username, users.is_active, users.role, users.max_priority
FROM users
WHERE users.id = %(id_1)s::UUID;

UPDATE bulk_batches
SET number=%(number)s, task_ids=%(task_ids)s
WHERE bulk_batches.deed_id = %(deed_id_1)s::UUID
AND bulk_batches.number = %(number_1)s;

UPDATE bulk_deeds
SET done=%(done)s, failed=%(failed)s, skipped=%(skipped)s
WHERE bulk_deeds.id = %(id_1)s::UUID;

UPDATE bulk_deeds
SET matched=%(matched)s
WHERE bulk_deeds.id = %(id_1)s::UUID;

UPDATE bulk_deeds
SET state=%(state)s, finished_at=clock_timestamp()
WHERE bulk_deeds.id = %(id_1)s::UUID
AND bulk_deeds.state = %(state_1)s;

UPDATE tasks
SET name=%(name)s, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s;

UPDATE tasks
SET status=%(status)s, status_reason=%(status_reason)s, active_key=%(active_key)s, held=%(held)s,
    claim_id=%(claim_id)s::UUID, worker_pid=%(worker_pid)s, due_at=%(due_at)s, turn=%(turn)s, version=(tasks.version +
    %(version_1)s), updated_at=clock_timestamp(), finished_at=clock_timestamp()
WHERE (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.id IN (%(id_1_1)s::UUID, …)
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

UPDATE tasks
SET status=%(status)s, status_reason=%(status_reason)s, progress=%(progress)s, progress_detail=%(progress_detail)s,
    result=%(result)s, error_type=%(error_type)s, error_message=%(error_message)s,
    error_fingerprint=%(error_fingerprint)s, run_at=%(run_at)s, expires_at=CASE WHEN (tasks.expires_at >
    clock_timestamp()) THEN tasks.expires_at ELSE NULL END, active_key=tasks.unique_key, user_limited=%(user_limited)s,
    held=CASE WHEN (tasks."limit" IS NOT NULL) THEN %(param_1)s END, claim_id=%(claim_id)s::UUID,
    worker_pid=%(worker_pid)s, failures=%(failures)s, crashes=%(crashes)s, celery_id=CASE tasks.id WHEN
    %(param_2)s::UUID THEN %(param_3)s::UUID WHEN %(param_4)s::UUID THEN %(param_5)s::UUID END,
    generation=(tasks.generation + %(generation_1)s), due_at=clock_timestamp(), turn=%(turn)s,
    delete_requested_at=%(delete_requested_at)s, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(),
    finished_at=%(finished_at)s, cancel_requested_at=%(cancel_requested_at)s
WHERE (CAST(tasks.status AS TEXT) || '') IN (%(param_6_1)s, …)
AND tasks.id IN (%(id_1_1)s::UUID, …)
RETURNING tasks.id, tasks.status, tasks.version, tasks.attempt, tasks.worker, tasks.started_at, tasks.updated_at;

UPDATE tasks
SET version=(tasks.version + %(version_1)s), updated_at=clock_timestamp(), cancel_requested_at=clock_timestamp()
WHERE tasks.id IN (%(id_1_1)s::UUID, …)
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s
AND tasks.cancel_requested_at IS NULL;
