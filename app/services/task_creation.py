"""Accepting tasks: from what was asked for to committed rows and the dispatches they owe."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import DateTime, Float, bindparam, case, func, insert
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.dispatch.messages import Dispatch
from app.dispatch.routing import QUEUE_OF
from app.errors import InvalidTask
from app.models.ids import new_id
from app.models.task import Task
from app.schemas.refusals import field_errors
from app.schemas.task import TaskCreate
from app.services.catalogue import find_type
from app.services.transitions import STATEMENT_TIME, seconds

_START = func.coalesce(
    bindparam("p_run_at", type_=DateTime(timezone=True)), STATEMENT_TIME + seconds(bindparam("p_delay", type_=Float))
)
_GRACE = seconds(bindparam("p_grace", type_=Float))
# Due now: a grace time ahead, in which the publisher sends it; the keeper sends what is still due after that.
_INSERT = (
    insert(Task)
    .values(
        {
            "created_at": STATEMENT_TIME,
            "updated_at": STATEMENT_TIME,
            "run_at": _START,
            "dispatch_at": case((_START > STATEMENT_TIME, _START), else_=STATEMENT_TIME + _GRACE),
        }
    )
    .returning(Task, sort_by_parameter_order=True)
)


def parse(fields: dict[str, Any]) -> TaskCreate:
    """The fields as a TaskCreate. Raises InvalidTask with the refused ones."""
    try:
        return TaskCreate.model_validate(fields)
    except ValidationError as error:
        refused = field_errors(error.errors(include_url=False, include_context=False))
        names = ", ".join(str(part) for problem in refused for part in problem["loc"][:1])
        raise InvalidTask(f"The task is not valid: {names}" if names else None, refused) from None


def rows_of(wanted: Sequence[TaskCreate], user_id: UUID) -> list[dict[str, Any]]:
    """What to insert, once all are checked against the catalogue. Raises UnknownTask, InvalidArguments.

    Before any statement: a first look at the catalogue imports every task, and no transaction may sit idle for so long.
    """
    return [_row(task, user_id) for task in wanted]


def insert_tasks(db: Session, rows: list[dict[str, Any]]) -> list[Task]:
    """All of `rows_of`, in one statement, in their order."""
    return list(db.scalars(_INSERT, rows)) if rows else []


def due_now(tasks: Sequence[Task]) -> list[Dispatch]:
    """The dispatches to send at once: of those that need not wait for a later time."""
    return [Dispatch.of(task) for task in tasks if task.run_at is None or task.run_at <= task.created_at]


def _row(wanted: TaskCreate, user_id: UUID) -> dict[str, Any]:
    kind = find_type(wanted.celery_task_name)
    kind.check(wanted.args, wanted.kwargs)
    return {
        "id": new_id(),
        "celery_id": new_id(),
        "user_id": user_id,
        "name": wanted.name,
        "task_type": wanted.task_type,
        "celery_task_name": wanted.celery_task_name,
        "args": wanted.args,
        "kwargs": wanted.kwargs,
        "priority": wanted.priority,
        "queue": kind.queue or QUEUE_OF[wanted.priority],
        "tags": wanted.tags,
        "metadata_": wanted.metadata,
        "p_run_at": wanted.run_at,
        "p_delay": wanted.delay_seconds,
        "p_grace": get_settings().dispatch_grace_seconds,
        "delay_seconds": wanted.delay_seconds,
        "expires_at": wanted.expires_at,
        "timeout_seconds": wanted.timeout_seconds,
        "retry_backoff_seconds": wanted.retry_backoff_seconds,
        "max_attempts": wanted.max_attempts or kind.max_attempts,
        "max_attempts_named": wanted.max_attempts is not None or kind.max_attempts_named,
        "rerun_lost": kind.rerun_lost,
    }
