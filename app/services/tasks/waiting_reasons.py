"""Why pending tasks wait, as far as it does not stand in their rows: which workers live, which tasks they wait for."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.db.statements import dependencies
from app.models.task import DependsOn, Task, WaitingReason
from app.services.operations.live_workers import look_for


def explain(db: Session | Connection, tasks: Sequence[Task | dict[str, Any]]) -> None:
    """Have these tasks, which were read just now, say what `TaskRead` shows of it. Of most nothing is read for it."""
    waits = [task.waits if isinstance(task, Task) else task["waits"] for task in tasks]
    look_for(db, waits)
    of = {_id(task): task for task, why in zip(tasks, waits, strict=True) if why == WaitingReason.DEPENDENCY}
    if of:
        for task_id, parents in dependencies.blocked_by(db, of).items():
            task, why = of[task_id], DependsOn(parents)
            if isinstance(task, Task):
                set_committed_value(task, "waits", why)
            else:
                task["waits"] = why


def _id(task: Task | dict[str, Any]) -> Any:
    return task.id if isinstance(task, Task) else task["id"]
