"""What keeps `audit_events` append-only: a trigger that refuses every change, and revoked privileges."""

# A statement-level trigger also refuses an UPDATE that matches no row, and the UPDATE of INSERT … ON CONFLICT.
_FUNCTION = """
CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events is append-only: no %', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$
"""

_TRIGGER = """
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only()
"""

# Without ALWAYS, `SET session_replication_role = replica` would switch the trigger off.
_ALWAYS = "ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only"
# The table's owner loses these privileges as well.
_PRIVILEGES = "REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM CURRENT_USER, PUBLIC"

CREATE = (_FUNCTION, _TRIGGER, _ALWAYS, _PRIVILEGES)
