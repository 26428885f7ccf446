"""The trigger on `tasks` that refuses every UPDATE which breaks the state machine, whatever sends it.

The service's own statements carry the same guards. The trigger catches a statement without them.
"""

_FUNCTION = """
CREATE FUNCTION tasks_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.user_id <> OLD.user_id OR NEW.celery_task_name <> OLD.celery_task_name THEN
        RAISE EXCEPTION 'tasks_guard: identity of task % is fixed', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.version NOT IN (OLD.version, OLD.version + 1) THEN
        RAISE EXCEPTION 'tasks_guard: version of task % from % to %', OLD.id, OLD.version, NEW.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.generation = OLD.generation AND (
        NEW.celery_id <> OLD.celery_id
        OR (OLD.cancel_requested_at IS NOT NULL AND NEW.cancel_requested_at IS NULL)
    ) THEN
        RAISE EXCEPTION 'tasks_guard: celery_id and a request to cancel task % last for a generation', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status = OLD.status THEN
        IF NEW.attempt <> OLD.attempt OR NEW.generation <> OLD.generation OR NEW.failures <> OLD.failures
            OR NEW.crashes <> OLD.crashes OR NEW.claim_id IS DISTINCT FROM OLD.claim_id THEN
            RAISE EXCEPTION 'tasks_guard: counters of task % change only with its status', OLD.id
                USING ERRCODE = 'check_violation';
        END IF;
        IF OLD.finished_at IS NOT NULL AND (
            NEW.finished_at <> OLD.finished_at OR NEW.progress <> OLD.progress
            OR NEW.progress_detail IS DISTINCT FROM OLD.progress_detail
            OR NEW.result IS DISTINCT FROM OLD.result OR NEW.error_type IS DISTINCT FROM OLD.error_type
            OR NEW.error_message IS DISTINCT FROM OLD.error_message
            OR NEW.args <> OLD.args OR NEW.kwargs <> OLD.kwargs
        ) THEN
            RAISE EXCEPTION 'tasks_guard: task % has ended', OLD.id USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.status IN ('pending', 'running')
        AND (NEW.failures - OLD.failures, NEW.crashes - OLD.crashes) <> (0, 0)
        AND NOT (
            OLD.status = 'running' AND NEW.status IN ('failed', 'pending')
            AND (NEW.failures - OLD.failures, NEW.crashes - OLD.crashes) IN ((1, 0), (0, 1))
        ) THEN
        RAISE EXCEPTION 'tasks_guard: an attempt of task % counts once, as it fails or is lost', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.status = 'pending' AND NEW.status = 'running' THEN
        IF NEW.attempt <> OLD.attempt + 1 OR NEW.generation <> OLD.generation THEN
            RAISE EXCEPTION 'tasks_guard: a claim of task % must raise attempt by one', OLD.id
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.attempt <> OLD.attempt THEN
        RAISE EXCEPTION 'tasks_guard: attempt of task % rises with a claim alone', OLD.id
            USING ERRCODE = 'check_violation';
    ELSIF OLD.status IN ('failed', 'revoked') AND NEW.status = 'pending' THEN
        IF NEW.generation <> OLD.generation + 1 OR NEW.celery_id = OLD.celery_id
            OR NEW.failures <> 0 OR NEW.crashes <> 0 THEN
            RAISE EXCEPTION 'tasks_guard: a retry of task % starts a new generation', OLD.id
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.generation <> OLD.generation THEN
        RAISE EXCEPTION 'tasks_guard: generation of task % rises with a retry alone', OLD.id
            USING ERRCODE = 'check_violation';
    ELSIF NOT (
        OLD.status = 'running'
        OR (OLD.status = 'pending' AND NEW.status = 'revoked')
    ) THEN
        RAISE EXCEPTION 'tasks_guard: task % cannot go from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    ELSIF OLD.status = 'running' AND NEW.status IN ('failed', 'pending')
        AND OLD.cancel_requested_at IS NOT NULL THEN
        RAISE EXCEPTION 'tasks_guard: the cancelled task % can only succeed or be revoked', OLD.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$
"""

_TRIGGER = """
CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_guard()
"""

CREATE = (_FUNCTION, _TRIGGER)
