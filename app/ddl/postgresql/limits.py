"""The trigger on `tasks` by which a claim takes the places that the task needs; without one of them it is refused.

It stands at the row and not in the claim, so that each statement which sets `running` meets it. So the place says which
process runs the body from the moment of the claim on, and no task begins for which no place was reserved, whoever
wrote its row. Tasks that need no place pay for the condition alone.
"""

_FUNCTION = """
CREATE FUNCTION tasks_limited() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    needed CONSTANT integer := num_nonnulls(NEW."limit") + coalesce(NEW.user_limited, false)::integer;
    taken integer;
BEGIN
    UPDATE limit_places
    SET started_at = clock_timestamp(), worker_id = NEW.worker_id, worker_pid = NEW.worker_pid
    WHERE task_id = NEW.id AND attempt = NEW.attempt AND worker_id IS NULL AND ended_at IS NULL
        AND (limit_name = NEW."limit" OR NEW.user_limited AND limit_name = '@user');
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken < needed THEN
        IF taken > 0 THEN
            UPDATE limit_places SET started_at = NULL, worker_id = NULL, worker_pid = NULL
            WHERE task_id = NEW.id AND attempt = NEW.attempt AND ended_at IS NULL;
        END IF;
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$
"""

# After `tasks_held`, by its name: what that refuses takes no place.
_TRIGGER = """
CREATE TRIGGER tasks_limited BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (OLD.status = 'pending' AND NEW.status = 'running' AND (NEW."limit" IS NOT NULL OR NEW.user_limited))
EXECUTE FUNCTION tasks_limited()
"""

CREATE = (_FUNCTION, _TRIGGER)
