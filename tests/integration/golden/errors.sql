-- Written by `python -m tests.support.golden_sql --write`.

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.celery_task_name = %(celery_task_name_1)s
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.fingerprint = %(fingerprint_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.fingerprint = %(fingerprint_1)s
AND error_groups.user_id = %(user_id_1)s::UUID;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.state != %(state_1)s
AND NOT (error_groups.state = %(state_2)s
  AND (error_groups.ignored_until IS NULL OR error_groups.ignored_until > statement_timestamp()))
AND error_groups.user_id = %(user_id_1)s::UUID
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.state != %(state_1)s
AND NOT (error_groups.state = %(state_2)s
  AND (error_groups.ignored_until IS NULL OR error_groups.ignored_until > statement_timestamp()))
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.state = %(state_1)s
AND (error_groups.ignored_until IS NULL OR error_groups.ignored_until > statement_timestamp())
AND error_groups.user_id = %(user_id_1)s::UUID
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.state = %(state_1)s
AND (error_groups.ignored_until IS NULL OR error_groups.ignored_until > statement_timestamp())
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.state = %(state_1)s
AND error_groups.user_id = %(user_id_1)s::UUID
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.state = %(state_1)s
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.user_id = %(user_id_1)s::UUID
AND (error_groups.last_seen, error_groups.fingerprint) < (%(param_1)s, %(param_2)s)
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_3)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.user_id = %(user_id_1)s::UUID
AND error_groups.celery_task_name = %(celery_task_name_1)s
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_groups.fingerprint, error_groups.user_id, error_groups.celery_task_name, error_groups.error_type,
    error_groups.message, error_groups.first_seen, error_groups.last_seen, error_groups.count, error_groups.state,
    error_groups.ignored_until, error_groups.state_set_at, error_groups.count + coalesce(anon_2.number, %(coalesce_1)s)
    AS anon_1, statement_timestamp() AS statement_timestamp_1
FROM error_groups
LEFT OUTER JOIN (
  SELECT task_count_changes.error AS error, sum(task_count_changes.number) AS number
  FROM task_count_changes
  WHERE task_count_changes.error IS NOT NULL
  GROUP BY task_count_changes.error) AS anon_2 ON anon_2.error = error_groups.fingerprint
WHERE error_groups.user_id = %(user_id_1)s::UUID
ORDER BY error_groups.last_seen DESC, error_groups.fingerprint DESC
LIMIT %(param_1)s;

SELECT error_times.fingerprint, error_times.at, error_times.number
FROM error_times
WHERE error_times.fingerprint IN (%(fingerprint_1_1)s, …)
AND error_times.at >= %(at_1)s;

SELECT wanted.fingerprint, newest.id
FROM unnest(CAST(%(fingerprints)s AS text[])) AS wanted (fingerprint), LATERAL (
  SELECT id
  FROM tasks
  WHERE error_fingerprint = wanted.fingerprint
  ORDER BY id DESC
  LIMIT %(each)s ) AS newest
ORDER BY newest.id DESC;

UPDATE error_groups
SET state=%(state)s, ignored_until=%(ignored_until)s, state_set_at=clock_timestamp()
WHERE error_groups.fingerprint = %(fingerprint_1)s;
