-- Written by `python -m tests.support.golden_sql --write`.

INSERT INTO worker_processes (id, name, pid, queues, concurrency, task_names, processed, memory_bytes, version)
VALUES (%(id)s::UUID, %(name)s, %(pid)s, %(queues)s::TEXT[], %(concurrency)s, %(task_names)s::TEXT[], %(processed)s,
    %(memory_bytes)s, %(version)s)
ON CONFLICT (id)
DO UPDATE SET processed = %(param_1)s, memory_bytes = %(param_2)s, heartbeat_at = clock_timestamp(), stopped_at =
    %(param_3)s;

SELECT EXISTS (
  SELECT *
  FROM claim_holds
  WHERE claim_holds.kind = %(kind_1)s
  AND claim_holds.name = %(name_1)s) AS anon_1;

SELECT limit_places.task_id, limit_places.attempt, limit_places.worker_pid
FROM limit_places
WHERE limit_places.worker_id = %(worker_id_1)s::UUID
AND limit_places.ended_at IS NULL;

SELECT tasks.id, tasks.attempt, tasks.worker_pid, tasks.cancel_requested_at IS NOT NULL AS anon_1
FROM tasks
WHERE tasks.worker_id = %(p_worker_id)s::UUID
AND tasks.status = %(status_1)s;
