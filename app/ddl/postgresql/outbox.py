"""The triggers on `tasks` that write to `task_outbox`. They do not fire for a task without followers."""

from app.ddl.portable import outbox

_FUNCTION = f"""
CREATE FUNCTION tasks_tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        {outbox.deleted()}
    ELSIF NEW.finished_at IS NULL THEN
        {outbox.retried()}
    ELSE
        {outbox.ended()}
    END IF;
    RETURN NULL;
END
$$
"""
_CHANGED = """
CREATE TRIGGER tasks_followed AFTER UPDATE OF status ON tasks
    FOR EACH ROW WHEN (NEW.followers <> 0 AND (OLD.finished_at IS NULL) <> (NEW.finished_at IS NULL))
    EXECUTE FUNCTION tasks_tell_followers()
"""
_DELETED = """
CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks
    FOR EACH ROW WHEN (OLD.followers <> 0) EXECUTE FUNCTION tasks_tell_followers()
"""

CREATE = (_FUNCTION, _CHANGED, _DELETED)
