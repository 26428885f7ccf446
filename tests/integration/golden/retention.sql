-- Written by `python -m tests.support.golden_sql --write`.

SELECT user_id, sum(bytes)::bigint AS bytes
FROM (
  SELECT user_id, bytes
  FROM stored_bytes
  WHERE kind = 'ended_tasks'
  UNION ALL
  SELECT user_id, bytes
  FROM task_count_changes ) AS stored
GROUP BY user_id
HAVING sum(bytes) > %(limit)s
ORDER BY sum(bytes) DESC
LIMIT %(users)s;

WITH oldest AS (
  SELECT id, finished_at, 1024 + tasks.attached_bytes + coalesce(octet_length(tasks.args), 0) +
      coalesce(octet_length(tasks.kwargs), 0) + coalesce(octet_length(tasks.progress_detail), 0) +
      coalesce(octet_length(tasks.result), 0) + coalesce(octet_length(tasks.error_message), 0) AS bytes
  FROM tasks
  WHERE user_id = %(user_id)s
  AND finished_at < statement_timestamp() - %(spared)s
  ORDER BY finished_at, id
  LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED ), summed AS (
  SELECT id, bytes, sum(bytes) OVER (
    ORDER BY finished_at, id) - bytes AS before
  FROM oldest ), gone AS (
  DELETE FROM tasks
  USING summed
  WHERE tasks.id = summed.id
  AND summed.before < %(bytes)s
  RETURNING summed.bytes )
SELECT count(*), coalesce(sum(bytes), 0)::bigint
FROM gone;
