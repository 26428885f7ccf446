-- Written by `python -m tests.support.golden_sql --write`.

SELECT task_attempts.task_id, task_attempts.number, task_attempts.worker, task_attempts.started_at,
    task_attempts.finished_at, task_attempts.outcome, task_attempts.error_type, task_attempts.error_message,
    task_attempts.traceback
FROM task_attempts
WHERE task_attempts.task_id = %(task_id_1)s::UUID
ORDER BY task_attempts.number;

SELECT task_attempts.task_id, task_attempts.number, task_attempts.worker, task_attempts.started_at,
    task_attempts.finished_at, task_attempts.outcome, task_attempts.error_type, task_attempts.error_message,
    task_attempts.traceback, anon_1."all"
FROM task_attempts
JOIN (
  SELECT task_attempts.number AS number, %(param_1)s + coalesce(octet_length(task_attempts.worker), %(coalesce_1)s) +
      coalesce(octet_length(task_attempts.error_type), %(coalesce_2)s) +
      coalesce(octet_length(task_attempts.error_message), %(coalesce_3)s) +
      coalesce(octet_length(task_attempts.traceback), %(coalesce_4)s) AS bytes, sum(%(param_1)s +
      coalesce(octet_length(task_attempts.worker), %(coalesce_1)s) + coalesce(octet_length(task_attempts.error_type),
      %(coalesce_2)s) + coalesce(octet_length(task_attempts.error_message), %(coalesce_3)s) +
      coalesce(octet_length(task_attempts.traceback), %(coalesce_4)s)) OVER (
    ORDER BY task_attempts.number) AS through, count(*) OVER () AS "all"
  FROM task_attempts
  WHERE task_attempts.task_id = %(task_id_1)s::UUID
  AND task_attempts.number > %(number_1)s
  ORDER BY task_attempts.number
  LIMIT %(param_2)s) AS anon_1 ON task_attempts.number = anon_1.number
WHERE task_attempts.task_id = %(task_id_2)s::UUID
AND (anon_1.through <= %(through_1)s OR anon_1.through = anon_1.bytes)
ORDER BY task_attempts.number;
