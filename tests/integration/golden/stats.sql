-- Written by `python -m tests.support.golden_sql --write`.

SELECT anon_1.key, anon_1.at, sum(anon_1.submitted) AS sum_1, sum(anon_1.succeeded) AS sum_2, sum(anon_1.failed) AS
    sum_3, sum(anon_1.revoked) AS sum_4
FROM (
  SELECT CASE WHEN (task_stats.priority IN (%(priority_1_1)s, …)) THEN task_stats.priority ELSE %(param_1)s END AS key,
      task_stats.at AS at, task_stats.submitted AS submitted, task_stats.succeeded AS succeeded, task_stats.failed AS
      failed, task_stats.revoked AS revoked
  FROM task_stats
  WHERE task_stats.user_id = %(user_id_1)s::UUID
  AND task_stats.step_seconds = %(step_seconds_1)s
  AND task_stats.at >= %(at_1)s
  AND task_stats.at < %(at_2)s) AS anon_1
GROUP BY anon_1.key, anon_1.at;

SELECT anon_1.key, anon_1.at, sum(anon_1.submitted) AS sum_1, sum(anon_1.succeeded) AS sum_2, sum(anon_1.failed) AS
    sum_3, sum(anon_1.revoked) AS sum_4
FROM (
  SELECT CASE WHEN (task_stats.queue IN (%(queue_1_1)s, …)) THEN task_stats.queue ELSE %(param_1)s END AS key,
      task_stats.at AS at, task_stats.submitted AS submitted, task_stats.succeeded AS succeeded, task_stats.failed AS
      failed, task_stats.revoked AS revoked
  FROM task_stats
  WHERE task_stats.user_id = %(user_id_1)s::UUID
  AND task_stats.step_seconds = %(step_seconds_1)s
  AND task_stats.at >= %(at_1)s
  AND task_stats.at < %(at_2)s) AS anon_1
GROUP BY anon_1.key, anon_1.at;

SELECT anon_1.key, anon_1.at, sum(anon_1.submitted) AS sum_1, sum(anon_1.succeeded) AS sum_2, sum(anon_1.failed) AS
    sum_3, sum(anon_1.revoked) AS sum_4
FROM (
  SELECT CASE WHEN (task_stats.task_type IN (%(task_type_1_1)s, …)) THEN task_stats.task_type ELSE %(param_1)s END AS
      key, task_stats.at AS at, task_stats.submitted AS submitted, task_stats.succeeded AS succeeded, task_stats.failed
      AS failed, task_stats.revoked AS revoked
  FROM task_stats
  WHERE task_stats.user_id = %(user_id_1)s::UUID
  AND task_stats.step_seconds = %(step_seconds_1)s
  AND task_stats.at >= %(at_1)s
  AND task_stats.at < %(at_2)s) AS anon_1
GROUP BY anon_1.key, anon_1.at;

SELECT task_durations.at, task_durations.bucket, task_durations.number
FROM task_durations
WHERE task_durations.user_id = %(user_id_1)s::UUID
AND task_durations.step_seconds = %(step_seconds_1)s
AND task_durations.at >= %(at_1)s
AND task_durations.at < %(at_2)s
AND task_durations.measure = %(measure_1)s;

SELECT task_stats.priority
FROM task_stats
WHERE task_stats.user_id = %(user_id_1)s::UUID
AND task_stats.step_seconds = %(step_seconds_1)s
AND task_stats.at >= %(at_1)s
AND task_stats.at < %(at_2)s
AND task_stats.priority != %(priority_1)s
GROUP BY task_stats.priority
ORDER BY sum(task_stats.submitted + task_stats.succeeded + task_stats.failed + task_stats.revoked) DESC,
    task_stats.priority
LIMIT %(param_1)s;

SELECT task_stats.queue
FROM task_stats
WHERE task_stats.user_id = %(user_id_1)s::UUID
AND task_stats.step_seconds = %(step_seconds_1)s
AND task_stats.at >= %(at_1)s
AND task_stats.at < %(at_2)s
AND task_stats.queue != %(queue_1)s
GROUP BY task_stats.queue
ORDER BY sum(task_stats.submitted + task_stats.succeeded + task_stats.failed + task_stats.revoked) DESC,
    task_stats.queue
LIMIT %(param_1)s;

SELECT task_stats.task_type
FROM task_stats
WHERE task_stats.user_id = %(user_id_1)s::UUID
AND task_stats.step_seconds = %(step_seconds_1)s
AND task_stats.at >= %(at_1)s
AND task_stats.at < %(at_2)s
AND task_stats.task_type != %(task_type_1)s
GROUP BY task_stats.task_type
ORDER BY sum(task_stats.submitted + task_stats.succeeded + task_stats.failed + task_stats.revoked) DESC,
    task_stats.task_type
LIMIT %(param_1)s;
