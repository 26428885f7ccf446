-- Written by `python -m tests.support.golden_sql --write`.

GRANT USAGE ON SCHEMA public TO golden; GRANT
SELECT, INSERT,
UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO golden; REVOKE INSERT,
UPDATE, DELETE ON alembic_version, audit_events
FROM golden; GRANT INSERT (id, event, origin, actor_id, actor_name, object_kind, object_id, address, request_id, detail)
    ON audit_events TO golden;;

SELECT count(*)
FROM pg_tables
WHERE schemaname = 'public'
AND NOT pg_has_role(tableowner, 'USAGE');
