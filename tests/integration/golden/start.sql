-- Written by `python -m tests.support.golden_sql --write`.

SELECT 1;

SELECT alembic_version.version_num
FROM alembic_version;

SELECT name, setting
FROM pg_settings
WHERE name = ANY(%(names)s)
ORDER BY name;

SELECT second_factors.user_id, second_factors.secret, second_factors.confirmed_at, second_factors.last_step,
    clock_timestamp() AS clock_timestamp_1
FROM second_factors
ORDER BY second_factors.user_id
LIMIT %(param_1)s;

SELECT second_factors.user_id, second_factors.secret, second_factors.confirmed_at, second_factors.last_step,
    clock_timestamp() AS clock_timestamp_1
FROM second_factors
WHERE second_factors.user_id > %(user_id_1)s::UUID
ORDER BY second_factors.user_id
LIMIT %(param_1)s;

SELECT tasks.queue, count(*) AS count_1, EXTRACT(epoch FROM clock_timestamp() - (min(tasks.due_at) FILTER (
      WHERE tasks.due_at <= clock_timestamp()))) AS anon_1
FROM tasks
WHERE tasks.status = %(status_1)s
GROUP BY tasks.queue;

SET LOCAL statement_timeout = 2000;

UPDATE second_factors
SET secret=%(secret)s
WHERE second_factors.user_id = %(user_id_1)s::UUID
AND second_factors.secret = %(secret_1)s;
