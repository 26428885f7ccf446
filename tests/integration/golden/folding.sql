-- Written by `python -m tests.support.golden_sql --write`.

INSERT INTO error_groups (fingerprint, user_id, celery_task_name, error_type, message, first_seen, last_seen, count)
SELECT "new".fingerprint, "new".user_id, "new".celery_task_name, "new".error_type, "new".message, "new".first_seen,
    "new".last_seen, "new".count
FROM json_to_recordset(CAST(%(p_rows)s AS JSON)) AS "new"(fingerprint TEXT, user_id UUID, celery_task_name TEXT,
    error_type TEXT, message TEXT, first_seen TIMESTAMP WITH TIME ZONE, last_seen TIMESTAMP WITH TIME ZONE, count
    BIGINT)
ON CONFLICT (fingerprint)
DO UPDATE SET count = (error_groups.count + excluded.count);

SELECT task_stats.task_type, task_stats.queue, task_stats.priority
FROM task_stats
WHERE task_stats.user_id = %(user_id_1)s::UUID
AND task_stats.step_seconds = %(step_seconds_1)s
AND task_stats.at = %(at_1)s;
