"""One dispatch: what goes to the broker for a pending row, and the sending of a batch of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.dispatch.routing import MESSAGE_PRIORITY
from app.models.task import Task, TaskPriority

RECORD_HEADER = "task_record"
GENERATION_HEADER = "task_generation"

# A broker that is down, frozen or unreachable costs a second and no more (kombu would wait for a minute).
FAIL_FAST = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}

# What `Dispatch` needs of a row.
DISPATCHED_COLUMNS = (
    Task.id,
    Task.generation,
    Task.celery_id,
    Task.celery_task_name,
    Task.queue,
    Task.priority,
    Task.timeout_seconds,
    Task.dispatch_at,
)


@dataclass(frozen=True)
class Dispatch:
    """A message for one generation of one task. `dispatch_at` is the due window it answers."""

    id: UUID
    generation: int
    celery_id: UUID
    celery_task_name: str
    queue: str
    priority: TaskPriority
    timeout_seconds: float | None
    dispatch_at: datetime

    @classmethod
    def of(cls, task: Any) -> "Dispatch":
        """From a task, or from a row of `DISPATCHED_COLUMNS`."""
        return cls(**{column.key: getattr(task, column.key) for column in DISPATCHED_COLUMNS})


@contextmanager
def producer() -> Iterator[Any]:
    """A kombu producer on a connection of its own that fails fast. Raises kombu's OperationalError."""
    from app.celery_app import celery_app

    with celery_app.connection_for_write(transport_options=FAIL_FAST) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
        yield celery_app.amqp.Producer(connection, auto_declare=False)


def send(to: Any, dispatches: Sequence[Dispatch]) -> None:
    """Publish the messages in order. Raises kombu's OperationalError at the first that cannot be sent."""
    from app.celery_app import celery_app

    for dispatch in dispatches:
        celery_app.send_task(
            dispatch.celery_task_name,
            task_id=str(dispatch.celery_id),
            queue=dispatch.queue,
            priority=MESSAGE_PRIORITY[dispatch.priority],
            time_limit=dispatch.timeout_seconds,
            headers={RECORD_HEADER: str(dispatch.id), GENERATION_HEADER: dispatch.generation},
            argsrepr="",
            kwargsrepr="",
            producer=to,
            retry=False,
        )
