"""The rows that the triggers on `tasks` add to `task_outbox` for a task that has followers, on every engine."""

from app.ddl.trigger_terms import MOST_CONSUMERS

_CONSUMERS = "SELECT 0 AS number" + "".join(f" UNION ALL SELECT {number}" for number in range(1, MOST_CONSUMERS))

# What a consumer is told of the task as the event has left it.
_AS_IT_IS = ("generation", "version", "finished_at", "task_type", "celery_task_name", "tags", "webhook_url")


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
    values = ", ".join(f"{row}.{name}" for name in _AS_IT_IS)
    return f"""INSERT INTO task_outbox (consumer, task_id, user_id, event, {", ".join(_AS_IT_IS)})
        SELECT consumers.number, {row}.id, {row}.user_id, {event}, {values}
        FROM ({_CONSUMERS}) AS consumers
        WHERE (({row}.followers >> consumers.number) & 1) = 1;"""  # noqa: S608 (constants)  # nosec B608
