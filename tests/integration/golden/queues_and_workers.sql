-- Written by `python -m tests.support.golden_sql --write`.

INSERT INTO claim_holds (kind, name, since, reason, held_by)
VALUES (%(kind)s, %(name)s, clock_timestamp(), %(reason)s, %(held_by)s::UUID)
ON CONFLICT (kind, name)
DO UPDATE SET reason = %(param_1)s, held_by = %(param_2)s::UUID
RETURNING claim_holds.since;

LOCK TABLE claim_holds IN EXCLUSIVE MODE;

SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.queue = %(queue_1)s) AS anon_1;

SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND tasks.queue = %(queue_1)s) AS anon_1;

SELECT anon_1.queue, count(*) AS count_1
FROM (
  SELECT tasks.queue AS queue
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.started_at > statement_timestamp() - %(statement_timestamp_1)s
  UNION ALL
  SELECT ended.queue AS queue
  FROM users
  JOIN LATERAL (
    SELECT tasks.queue AS queue
    FROM tasks
    WHERE tasks.user_id = users.id
    AND tasks.finished_at > statement_timestamp() - %(statement_timestamp_1)s
    AND tasks.started_at > statement_timestamp() - %(statement_timestamp_1)s) AS ended ON true) AS anon_1
GROUP BY anon_1.queue;

SELECT tasks.id, tasks.worker_id, tasks.name, tasks.celery_task_name, tasks.started_at, tasks.progress
FROM tasks
WHERE tasks.status = %(status_1)s
AND tasks.worker_id IN (%(worker_id_1_1)s::UUID, …)
ORDER BY tasks.started_at;

SELECT tasks.id, tasks.worker_id, tasks.name, tasks.celery_task_name, tasks.started_at, tasks.progress
FROM tasks
WHERE tasks.status = %(status_1)s
AND tasks.worker_id IN (NULL)
AND (1 != 1)
ORDER BY tasks.started_at;

SELECT tasks.queue, count(*) AS count_1, count(*) FILTER (
  WHERE coalesce(tasks.run_at, statement_timestamp()) <= statement_timestamp()) AS anon_1, EXTRACT(epoch FROM
      statement_timestamp() - (min(tasks.due_at) FILTER (
      WHERE tasks.due_at <= statement_timestamp()))) AS anon_2
FROM tasks
WHERE tasks.status = %(status_1)s
GROUP BY tasks.queue;

SELECT worker_processes.id, worker_processes.name, worker_processes.pid, worker_processes.queues,
    worker_processes.concurrency, worker_processes.task_names, worker_processes.processed,
    worker_processes.memory_bytes, worker_processes.version, worker_processes.started_at, worker_processes.heartbeat_at,
    worker_processes.stopped_at, worker_processes.heartbeat_at <= statement_timestamp() - %(statement_timestamp_1)s AS
    anon_1
FROM worker_processes
WHERE worker_processes.stopped_at IS NULL
AND NOT (EXISTS (
    SELECT *
    FROM worker_processes AS worker_processes_1
    WHERE worker_processes_1.name = worker_processes.name
    AND worker_processes_1.started_at > worker_processes.started_at))
AND worker_processes.name = %(name_1)s
ORDER BY worker_processes.name;

SELECT worker_processes.id, worker_processes.name, worker_processes.pid, worker_processes.queues,
    worker_processes.concurrency, worker_processes.task_names, worker_processes.processed,
    worker_processes.memory_bytes, worker_processes.version, worker_processes.started_at, worker_processes.heartbeat_at,
    worker_processes.stopped_at, worker_processes.heartbeat_at <= statement_timestamp() - %(statement_timestamp_1)s AS
    anon_1
FROM worker_processes
WHERE worker_processes.stopped_at IS NULL
AND NOT (EXISTS (
    SELECT *
    FROM worker_processes AS worker_processes_1
    WHERE worker_processes_1.name = worker_processes.name
    AND worker_processes_1.started_at > worker_processes.started_at))
ORDER BY worker_processes.name;
