-- Written by `python -m tests.support.golden_sql --write`.

SELECT (
  SELECT tasks.id
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  ORDER BY tasks.id
  LIMIT %(param_1)s) AS anon_1, (
  SELECT tasks.id
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  ORDER BY tasks.id DESC
  LIMIT %(param_1)s) AS anon_2;

SELECT CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
  AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s THEN
      %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at
      > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) END AS reason, count(*) AS count_1
FROM tasks
WHERE tasks.status = %(status_1)s
AND tasks.user_id = %(user_id_1)s::UUID
AND (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/')
GROUP BY CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
  AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s THEN
      %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at
      > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) END;

SELECT CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
  AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s THEN
      %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at
      > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) END AS reason, count(*) AS count_1
FROM tasks
WHERE tasks.status = %(status_1)s
GROUP BY CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
  AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s THEN
      %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at
      > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) END;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_1)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT %(param_6)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT %(param_7)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT %(param_8)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT %(param_9)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_5)s
  AND tasks.user_id = %(user_id_7)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_6_1)s, …)
  AND tasks.user_id = %(user_id_8)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_9)s::UUID)) THEN %(param_10)s::UUID ELSE %(param_11)s::UUID END AS anon_4)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  AND tasks.created_at < %(created_at_2)s
  GROUP BY tasks.status
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_7_1)s, …)
  AND tasks.user_id = %(user_id_10)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_12)s::UUID ELSE %(param_13)s::UUID END AS anon_5)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_12)s::UUID)) THEN %(param_14)s::UUID ELSE %(param_15)s::UUID END AS anon_6)
  AND tasks.created_at > %(created_at_3)s
  AND tasks.created_at < %(created_at_4)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_1)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT %(param_6)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_3_1)s, …)
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_6)s::UUID)) THEN %(param_7)s::UUID ELSE %(param_8)s::UUID END AS anon_4)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  AND tasks.created_at < %(created_at_2)s
  GROUP BY tasks.status
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_4_1)s, …)
  AND tasks.user_id = %(user_id_7)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_9)s::UUID ELSE %(param_10)s::UUID END AS anon_5)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_9)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_6)
  AND tasks.created_at > %(created_at_3)s
  AND tasks.created_at < %(created_at_4)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_1)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_2_1)s, …)
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_5)s::UUID)) THEN %(param_6)s::UUID ELSE %(param_7)s::UUID END AS anon_4)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  AND tasks.created_at < %(created_at_2)s
  GROUP BY tasks.status
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_3_1)s, …)
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_7)s::UUID)) THEN %(param_8)s::UUID ELSE %(param_9)s::UUID END AS anon_5)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_10)s::UUID ELSE %(param_11)s::UUID END AS anon_6)
  AND tasks.created_at > %(created_at_3)s
  AND tasks.created_at < %(created_at_4)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_1)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_5)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_6)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_7)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_5)s
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_6_1)s, …)
  AND tasks.user_id = %(user_id_7)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_8)s::UUID ELSE %(param_9)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_1)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_3_1)s, …)
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_5)s::UUID)) THEN %(param_5)s::UUID ELSE %(param_6)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_1)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_2_1)s, …)
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_4)s::UUID ELSE %(param_5)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, error_groups.count AS number
  FROM error_groups
  WHERE error_groups.fingerprint = %(fingerprint_1)s
  AND %(param_2)s
  AND error_groups.user_id = %(user_id_1)s::UUID
  UNION ALL
  SELECT %(param_1)s AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.error = %(error_1)s
  AND %(param_3)s
  AND task_count_changes.user_id = %(user_id_2)s::UUID) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT %(param_1)s AS status, error_groups.count AS number
  FROM error_groups
  WHERE error_groups.fingerprint = %(fingerprint_1)s
  AND %(param_2)s
  UNION ALL
  SELECT %(param_1)s AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.error = %(error_1)s
  AND %(param_3)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_counts.status AS status, task_counts.number AS number
  FROM task_counts
  WHERE task_counts.queue = %(queue_1)s
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.queue = %(queue_2)s
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.queue = %(queue_3)s
  UNION ALL
  SELECT %(param_2)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.queue = %(queue_4)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_counts.status AS status, task_counts.number AS number
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.celery_task_name = %(celery_task_name_1)s
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.celery_task_name = %(celery_task_name_2)s
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.celery_task_name = %(celery_task_name_3)s
  UNION ALL
  SELECT %(param_2)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.celery_task_name = %(celery_task_name_4)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_counts.status AS status, task_counts.number AS number
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.priority = %(priority_1)s
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.priority = %(priority_2)s
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.priority = %(priority_3)s
  UNION ALL
  SELECT %(param_2)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.priority = %(priority_4)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_counts.status AS status, task_counts.number AS number
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.queue = %(queue_1)s
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.queue = %(queue_2)s
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.queue = %(queue_3)s
  UNION ALL
  SELECT %(param_2)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.queue = %(queue_4)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_counts.status AS status, task_counts.number AS number
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.task_type = %(task_type_1)s
  AND task_counts.celery_task_name = %(celery_task_name_1)s
  AND task_counts.priority = %(priority_1)s
  AND task_counts.queue = %(queue_1)s
  AND task_counts.status IN (%(status_1_1)s, …)
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.task_type = %(task_type_2)s
  AND task_count_changes.celery_task_name = %(celery_task_name_2)s
  AND task_count_changes.priority = %(priority_2)s
  AND task_count_changes.queue = %(queue_2)s
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.task_type = %(task_type_3)s
  AND tasks.celery_task_name = %(celery_task_name_3)s
  AND tasks.priority = %(priority_3)s
  AND tasks.queue = %(queue_3)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_counts.status AS status, task_counts.number AS number
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.task_type = %(task_type_1)s
  AND task_counts.celery_task_name = %(celery_task_name_1)s
  AND task_counts.priority = %(priority_1)s
  AND task_counts.queue = %(queue_1)s
  AND task_counts.status IN (%(status_1_1)s, …)
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.task_type = %(task_type_2)s
  AND task_count_changes.celery_task_name = %(celery_task_name_2)s
  AND task_count_changes.priority = %(priority_2)s
  AND task_count_changes.queue = %(queue_2)s
  AND task_count_changes.status IN (%(status_2_1)s, …)) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_counts.status AS status, task_counts.number AS number
  FROM task_counts
  WHERE task_counts.user_id = %(user_id_1)s::UUID
  AND task_counts.task_type = %(task_type_1)s
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  AND task_count_changes.task_type = %(task_type_2)s
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.task_type = %(task_type_3)s
  UNION ALL
  SELECT %(param_2)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_4)s::UUID
  AND tasks.task_type = %(task_type_4)s) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_totals.status AS status, task_totals.number AS number
  FROM task_totals
  WHERE task_totals.status IN (%(status_1_1)s, …)
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.status IN (%(status_2_1)s, …)) AS anon_1
GROUP BY anon_1.status;

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
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_5)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_5)s
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_6_1)s, …)
  AND tasks.user_id = %(user_id_7)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_6)s::UUID ELSE %(param_7)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_9)s::UUID)) THEN %(param_8)s::UUID ELSE %(param_9)s::UUID END AS anon_4)
  AND tasks.created_at < %(created_at_1)s
  GROUP BY tasks.status
  UNION ALL
  SELECT %(param_10)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_7)s
  AND tasks.user_id = %(user_id_10)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_5)
  UNION ALL
  SELECT %(param_13)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_8)s
  AND tasks.user_id = %(user_id_12)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_5)
  UNION ALL
  SELECT %(param_14)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_9)s
  AND tasks.user_id = %(user_id_13)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_5)
  UNION ALL
  SELECT tasks.status AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_10_1)s, …)
  AND tasks.user_id = %(user_id_14)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_15)s::UUID)) THEN %(param_15)s::UUID ELSE %(param_16)s::UUID END AS anon_6)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_5)
  AND tasks.created_at > %(created_at_2)s
  GROUP BY tasks.status
  UNION ALL
  SELECT %(param_17)s AS status, %(count_3)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_11)s
  AND tasks.user_id = %(user_id_16)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_17)s::UUID)) THEN %(param_18)s::UUID ELSE %(param_19)s::UUID END AS anon_7)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_18)s::UUID)) THEN %(param_20)s::UUID ELSE %(param_21)s::UUID END AS anon_8)
  UNION ALL
  SELECT %(param_22)s AS status, %(count_3)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_12)s
  AND tasks.user_id = %(user_id_19)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_17)s::UUID)) THEN %(param_18)s::UUID ELSE %(param_19)s::UUID END AS anon_7)
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_18)s::UUID)) THEN %(param_20)s::UUID ELSE %(param_21)s::UUID END AS anon_8)
  UNION ALL
  SELECT tasks.status AS status, %(count_3)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_13_1)s, …)
  AND tasks.user_id = %(user_id_20)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_21)s::UUID)) THEN %(param_23)s::UUID ELSE %(param_24)s::UUID END AS anon_9)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_17)s::UUID)) THEN %(param_18)s::UUID ELSE %(param_19)s::UUID END AS anon_7)
  AND tasks.created_at > %(created_at_3)s
  AND tasks.created_at < %(created_at_4)s
  GROUP BY tasks.status
  UNION ALL
  SELECT tasks.status AS status, %(count_3)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_14_1)s, …)
  AND tasks.user_id = %(user_id_22)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_23)s::UUID)) THEN %(param_25)s::UUID ELSE %(param_26)s::UUID END AS anon_10)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_24)s::UUID)) THEN %(param_27)s::UUID ELSE %(param_28)s::UUID END AS anon_11)
  AND tasks.created_at > %(created_at_5)s
  AND tasks.created_at < %(created_at_6)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

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
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_5)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_5)s
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_6_1)s, …)
  AND tasks.user_id = %(user_id_7)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_6)s::UUID ELSE %(param_7)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_9)s::UUID)) THEN %(param_8)s::UUID ELSE %(param_9)s::UUID END AS anon_4)
  AND tasks.created_at < %(created_at_1)s
  GROUP BY tasks.status
  UNION ALL
  SELECT %(param_10)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_7)s
  AND tasks.user_id = %(user_id_10)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_5)
  UNION ALL
  SELECT %(param_13)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_8)s
  AND tasks.user_id = %(user_id_12)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_5)
  UNION ALL
  SELECT tasks.status AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_9_1)s, …)
  AND tasks.user_id = %(user_id_13)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_14)s::UUID)) THEN %(param_14)s::UUID ELSE %(param_15)s::UUID END AS anon_6)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_11)s::UUID)) THEN %(param_11)s::UUID ELSE %(param_12)s::UUID END AS anon_5)
  AND tasks.created_at > %(created_at_2)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

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
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_5_1)s, …)
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_7)s::UUID)) THEN %(param_5)s::UUID ELSE %(param_6)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_7)s::UUID ELSE %(param_8)s::UUID END AS anon_4)
  AND tasks.created_at < %(created_at_1)s
  GROUP BY tasks.status
  UNION ALL
  SELECT %(param_9)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_6)s
  AND tasks.user_id = %(user_id_9)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_10)s::UUID)) THEN %(param_10)s::UUID ELSE %(param_11)s::UUID END AS anon_5)
  UNION ALL
  SELECT %(param_12)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_7)s
  AND tasks.user_id = %(user_id_11)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_10)s::UUID)) THEN %(param_10)s::UUID ELSE %(param_11)s::UUID END AS anon_5)
  UNION ALL
  SELECT tasks.status AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_8_1)s, …)
  AND tasks.user_id = %(user_id_12)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_13)s::UUID)) THEN %(param_13)s::UUID ELSE %(param_14)s::UUID END AS anon_6)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_10)s::UUID)) THEN %(param_10)s::UUID ELSE %(param_11)s::UUID END AS anon_5)
  AND tasks.created_at > %(created_at_2)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

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
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_5_1)s, …)
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_7)s::UUID)) THEN %(param_5)s::UUID ELSE %(param_6)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_7)s::UUID ELSE %(param_8)s::UUID END AS anon_4)
  AND tasks.created_at < %(created_at_1)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

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
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_5)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_5)s
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_6_1)s, …)
  AND tasks.user_id = %(user_id_7)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_8)s::UUID)) THEN %(param_6)s::UUID ELSE %(param_7)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  GROUP BY tasks.status
  UNION ALL
  SELECT %(param_8)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_7)s
  AND tasks.user_id = %(user_id_9)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_10)s::UUID)) THEN %(param_9)s::UUID ELSE %(param_10)s::UUID END AS anon_4)
  UNION ALL
  SELECT %(param_11)s AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_8)s
  AND tasks.user_id = %(user_id_11)s::UUID
  AND tasks.id < (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_10)s::UUID)) THEN %(param_9)s::UUID ELSE %(param_10)s::UUID END AS anon_4)
  UNION ALL
  SELECT tasks.status AS status, %(count_2)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_9_1)s, …)
  AND tasks.user_id = %(user_id_12)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_13)s::UUID)) THEN %(param_12)s::UUID ELSE %(param_13)s::UUID END AS anon_5)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_14)s::UUID)) THEN %(param_14)s::UUID ELSE %(param_15)s::UUID END AS anon_6)
  AND tasks.created_at < %(created_at_2)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

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
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT %(param_4)s AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_4)s
  AND tasks.user_id = %(user_id_5)s::UUID
  AND tasks.id > (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  UNION ALL
  SELECT tasks.status AS status, %(count_1)s * count(*) AS number
  FROM tasks
  WHERE tasks.status IN (%(status_5_1)s, …)
  AND tasks.user_id = %(user_id_6)s::UUID
  AND tasks.id >= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_7)s::UUID)) THEN %(param_5)s::UUID ELSE %(param_6)s::UUID END AS anon_3)
  AND tasks.id <= (
    SELECT CASE WHEN (EXISTS (
        SELECT other.id
        FROM tasks AS other
        WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
          AND interval '1 minute') IS NOT TRUE
        AND other.user_id = %(user_id_4)s::UUID)) THEN %(param_2)s::UUID ELSE %(param_3)s::UUID END AS anon_2)
  AND tasks.created_at > %(created_at_1)s
  GROUP BY tasks.status) AS anon_1
GROUP BY anon_1.status;

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
  AND task_count_changes.status IN (%(status_2_1)s, …)
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_3)s
  AND tasks.user_id = %(user_id_3)s::UUID) AS anon_1
GROUP BY anon_1.status;

SELECT anon_1.status, sum(anon_1.number) AS sum_1
FROM (
  SELECT task_totals.status AS status, task_totals.number AS number
  FROM task_totals
  WHERE task_totals.user_id = %(user_id_1)s::UUID
  UNION ALL
  SELECT task_count_changes.status AS status, task_count_changes.number AS number
  FROM task_count_changes
  WHERE task_count_changes.user_id = %(user_id_2)s::UUID
  UNION ALL
  SELECT %(param_1)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.user_id = %(user_id_3)s::UUID
  UNION ALL
  SELECT %(param_2)s AS status, count(*) AS number
  FROM tasks
  WHERE tasks.status = %(status_2)s
  AND tasks.user_id = %(user_id_4)s::UUID) AS anon_1
GROUP BY anon_1.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.created_at > %(created_at_1)s
AND tasks.created_at < %(created_at_2)s
AND tasks.id >= (
  SELECT CASE WHEN (EXISTS (
      SELECT other.id
      FROM tasks AS other
      WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
        AND interval '1 minute') IS NOT TRUE)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_1)
AND tasks.id <= (
  SELECT CASE WHEN (EXISTS (
      SELECT other.id
      FROM tasks AS other
      WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
        AND interval '1 minute') IS NOT TRUE)) THEN %(param_3)s::UUID ELSE %(param_4)s::UUID END AS anon_2)
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.status IN (%(status_1_1)s, …)
AND tasks.status = %(status_2)s
AND CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
  AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s THEN
      %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at
      > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) END = %(param_10)s
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.tags @> %(tags_1)s::TEXT[]
AND tasks.tags != '{}'
AND (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/')
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(user_id_1)s::UUID
AND (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/')
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(user_id_1)s::UUID
AND tasks.status IN (%(status_1_1)s, …)
AND tasks.status = %(status_2)s
AND CASE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at > statement_timestamp() THEN CASE WHEN
    tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) WHEN %(param_1)s THEN CASE WHEN (tasks.queue = ANY (%(param_2)s::TEXT[])
  AND tasks.celery_task_name = ANY (%(param_3)s::TEXT[])) THEN %(param_4)s ELSE %(param_5)s END WHEN %(param_6)s THEN
      %(param_7)s WHEN %(param_8)s THEN %(param_9)s ELSE (CASE WHEN tasks.status = 'pending' THEN CASE WHEN tasks.run_at
      > statement_timestamp() THEN CASE WHEN tasks.failures > 0 THEN 'retry' ELSE 'schedule' END WHEN EXISTS (
    SELECT
    FROM claim_holds AS hold
    WHERE hold.kind = 'queue'
    AND hold.name = tasks.queue ) THEN 'paused' WHEN tasks.held IN ('limit', 'limit_key', 'user') THEN tasks.held ELSE
        'ready' END END) END = %(param_10)s
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(user_id_1)s::UUID
AND tasks.status IN (%(status_1_1)s, …)
AND tasks.task_type = %(task_type_1)s
AND (tasks.name ILIKE '%%' || %(name_1)s || '%%' ESCAPE '/')
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(user_id_1)s::UUID
AND tasks.tags @> %(tags_1)s::TEXT[]
AND tasks.tags != '{}'
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(user_id_1)s::UUID
AND tasks.task_type = %(task_type_1)s
AND tasks.created_at > %(created_at_1)s
AND tasks.created_at < %(created_at_2)s
AND tasks.id >= (
  SELECT CASE WHEN (EXISTS (
      SELECT other.id
      FROM tasks AS other
      WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
        AND interval '1 minute') IS NOT TRUE
      AND other.user_id = %(user_id_2)s::UUID)) THEN %(param_1)s::UUID ELSE %(param_2)s::UUID END AS anon_1)
AND tasks.id <= (
  SELECT CASE WHEN (EXISTS (
      SELECT other.id
      FROM tasks AS other
      WHERE (created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute'
        AND interval '1 minute') IS NOT TRUE
      AND other.user_id = %(user_id_3)s::UUID)) THEN %(param_3)s::UUID ELSE %(param_4)s::UUID END AS anon_2)
GROUP BY tasks.status;

SELECT tasks.status, count(*) AS count_1
FROM tasks
WHERE tasks.user_id = %(user_id_1)s::UUID
AND tasks.task_type = %(task_type_1)s
AND tasks.error_fingerprint = %(error_fingerprint_1)s
AND (
  SELECT other.user_id
  FROM tasks AS other
  WHERE other.error_fingerprint = %(error_fingerprint_2)s
  ORDER BY other.id DESC
  LIMIT %(param_1)s) = %(param_2)s::UUID
GROUP BY tasks.status;
