"""The trigger on `tasks` that lets no task of a paused queue begin, and none by a worker that drains.

It stands at the row and not in the claim, so that each statement which sets `running` meets it, however it picks rows.

A claim may have taken its snapshot before a pause was committed. So the trigger reads `claim_holds` by a query of its
own, which in a function has a snapshot of its own, and FOR KEY SHARE: this takes the lock ROW SHARE on the table before
the snapshot, and keeps it until the claim is committed. Who adds a hold takes the lock EXCLUSIVE first
(`app/db/statements/claim_holds.py`). It waits until the claims that have read the table are over, and the claims that
come later wait for its commit and read what it has written. Readers (ACCESS SHARE) wait for neither.

ROW SHARE is taken on PostgreSQL's fast path, without the shared table of locks, and no row is locked unless a hold is
there.
"""

_FUNCTION = """
CREATE FUNCTION tasks_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM claim_holds
    WHERE kind = 'queue' AND name = NEW.queue OR kind = 'worker' AND name = NEW.worker_id::text
    FOR KEY SHARE;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$
"""

_TRIGGER = """
CREATE TRIGGER tasks_held BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (OLD.status = 'pending' AND NEW.status = 'running') EXECUTE FUNCTION tasks_held()
"""

CREATE = (_FUNCTION, _TRIGGER)
