"""The rows that the triggers on `tasks` add to `task_outbox` for a task that has followers, on every engine."""

from app.ddl.trigger_terms import MOST_CONSUMERS

_CONSUMERS = "SELECT 0 AS number" + "".join(f" UNION ALL SELECT {number}" for number in range(1, MOST_CONSUMERS))


def ended() -> str:
    """A row for each follower of a task that has ended, as an INSERT."""
    return _insert("NEW", "NEW.status")


def retried() -> str:
    """The same of an ended task that is pending again."""
    return _insert("NEW", "'retried'")


def deleted() -> str:
    """The same of a task that is deleted, whatever its status."""
    return _insert("OLD", "'deleted'")


def _insert(row: str, event: str) -> str:
    return f"""INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, {row}.id, {row}.user_id, {event}, {row}.generation
        FROM ({_CONSUMERS}) AS consumers
        WHERE (({row}.followers >> consumers.number) & 1) = 1;"""  # noqa: S608 (constants)  # nosec B608
