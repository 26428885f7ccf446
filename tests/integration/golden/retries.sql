-- Written by `python -m tests.support.golden_sql --write`.

UPDATE tasks
SET run_at=statement_timestamp(), held=CASE WHEN (tasks.user_limited IS true) THEN %(param_1)s WHEN (tasks."limit" IS
    NOT NULL) THEN %(param_2)s END, due_at=CASE WHEN (coalesce(statement_timestamp(), clock_timestamp()) >
    clock_timestamp()) THEN statement_timestamp() ELSE clock_timestamp() END, turn=%(turn)s, version=(tasks.version +
    %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND (CAST(tasks.status AS TEXT) || '') = %(param_3)s
AND CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures, tasks.queue, tasks.held) END IN
    (%(CASE_WHEN_tasks_status_=_'pending'_THEN_waits_for_tasks_r_1_1)s,
    %(CASE_WHEN_tasks_status_=_'pending'_THEN_waits_for_tasks_r_1_2)s);
