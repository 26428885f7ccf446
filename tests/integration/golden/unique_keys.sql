-- Written by `python -m tests.support.golden_sql --write`.

ROLLBACK TO SAVEPOINT sa_savepoint_10;

ROLLBACK TO SAVEPOINT sa_savepoint_2;

ROLLBACK TO SAVEPOINT sa_savepoint_3;

ROLLBACK TO SAVEPOINT sa_savepoint_4;

ROLLBACK TO SAVEPOINT sa_savepoint_5;

ROLLBACK TO SAVEPOINT sa_savepoint_6;

ROLLBACK TO SAVEPOINT sa_savepoint_7;

ROLLBACK TO SAVEPOINT sa_savepoint_8;

ROLLBACK TO SAVEPOINT sa_savepoint_9;

SAVEPOINT sa_savepoint_10;

SAVEPOINT sa_savepoint_3;

SAVEPOINT sa_savepoint_4;

SAVEPOINT sa_savepoint_5;

SAVEPOINT sa_savepoint_6;

SAVEPOINT sa_savepoint_7;

SAVEPOINT sa_savepoint_8;

SAVEPOINT sa_savepoint_9;

UPDATE tasks
SET name=%(name)s, task_type=%(task_type)s, args=%(args)s, kwargs=%(kwargs)s, priority=%(priority)s, queue=%(queue)s,
    tags=%(tags)s::TEXT[], metadata=%(metadata)s::JSONB, run_at=%(run_at)s, delay_seconds=%(delay_seconds)s,
    expires_at=%(expires_at)s, timeout_seconds=%(timeout_seconds)s, retry_backoff_seconds=%(retry_backoff_seconds)s,
    max_attempts=%(max_attempts)s, max_attempts_named=%(max_attempts_named)s, rerun_lost=%(rerun_lost)s,
    on_conflict=%(on_conflict)s, "limit"=%(limit)s, limit_key=%(limit_key)s, retry_of=%(retry_of)s::UUID,
    user_limited=%(user_limited)s, held=%(held)s, due_at=CASE WHEN (coalesce(NULL, clock_timestamp()) >
    clock_timestamp()) THEN NULL ELSE clock_timestamp() END, turn=%(turn)s, attached_bytes=CASE WHEN
    (tasks.attached_bytes + %(attached_bytes_1)s > %(param_1)s) THEN tasks.attached_bytes + %(attached_bytes_1)s ELSE
    %(param_2)s END, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_3)s;

UPDATE tasks
SET name=%(name)s, task_type=%(task_type)s, args=%(args)s, kwargs=%(kwargs)s, priority=%(priority)s, queue=%(queue)s,
    tags=%(tags)s::TEXT[], metadata=%(metadata)s::JSONB, run_at=%(run_at)s, delay_seconds=%(delay_seconds)s,
    expires_at=%(expires_at)s, timeout_seconds=%(timeout_seconds)s, retry_backoff_seconds=%(retry_backoff_seconds)s,
    max_attempts=%(max_attempts)s, max_attempts_named=%(max_attempts_named)s, rerun_lost=%(rerun_lost)s,
    on_conflict=%(on_conflict)s, "limit"=%(limit)s, limit_key=%(limit_key)s, retry_of=%(retry_of)s::UUID,
    user_limited=%(user_limited)s, held=%(held)s, due_at=CASE WHEN (coalesce(NULL, clock_timestamp()) >
    clock_timestamp()) THEN NULL ELSE clock_timestamp() END, turn=%(turn)s, version=(tasks.version + %(version_1)s),
    updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_1)s;

UPDATE tasks
SET name=%(name)s, task_type=%(task_type)s, args=%(args)s, kwargs=%(kwargs)s, priority=%(priority)s, queue=%(queue)s,
    tags=%(tags)s::TEXT[], metadata=%(metadata)s::JSONB, run_at=(statement_timestamp() + %(statement_timestamp_1)s),
    delay_seconds=%(delay_seconds)s, expires_at=%(expires_at)s, timeout_seconds=%(timeout_seconds)s,
    retry_backoff_seconds=%(retry_backoff_seconds)s, max_attempts=%(max_attempts)s,
    max_attempts_named=%(max_attempts_named)s, rerun_lost=%(rerun_lost)s, on_conflict=%(on_conflict)s,
    "limit"=%(limit)s, limit_key=%(limit_key)s, retry_of=%(retry_of)s::UUID, user_limited=%(user_limited)s,
    held=%(held)s, due_at=CASE WHEN (coalesce(statement_timestamp() + %(statement_timestamp_1)s, clock_timestamp()) >
    clock_timestamp()) THEN statement_timestamp() + %(statement_timestamp_1)s ELSE clock_timestamp() END, turn=%(turn)s,
    attached_bytes=CASE WHEN (tasks.attached_bytes + %(attached_bytes_1)s > %(param_1)s) THEN tasks.attached_bytes +
    %(attached_bytes_1)s ELSE %(param_2)s END, version=(tasks.version + %(version_1)s), updated_at=clock_timestamp()
WHERE tasks.id = %(id_1)s::UUID
AND tasks.version = %(version_2)s
AND (CAST(tasks.status AS TEXT) || '') = %(param_3)s;
