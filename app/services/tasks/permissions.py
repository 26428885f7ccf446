"""Who may create which task, and with which priority.

A task of the catalogue may name a setting that lists its users. Administrators set the highest priority of each user.

What a request does is checked against the `Rights` of its caller. Python code that calls `task_service` is trusted, as
with quotas, but for one thing: the tasks that it creates keep to the highest priority of the user whose they will be.

A scope limits an API key: what reads the tasks or files of its user needs `tasks:read`, also where a task is what
reads. It is checked when a key names such a task. What the service runs later by itself, for a schedule or in a
workflow, has the rights of the user.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalogue import TaskType, catalogue
from app.core.config import get_settings
from app.errors import InsufficientScope, PriorityNotAllowed, TaskNotAllowed, Text
from app.models.auth import Scope
from app.models.task import TaskPriority
from app.models.user import User
from app.services.accounts.users import Rights


class Named(Protocol):
    """A task of which its type and its priority are known."""

    @property
    def celery_task_name(self) -> str: ...

    @property
    def priority(self) -> TaskPriority | None: ...


class Wanted(Named, Protocol):
    """A task to be created, or one that is to run again."""

    @property
    def args(self) -> Sequence[Any]: ...

    @property
    def kwargs(self) -> Mapping[str, Any]: ...


def check_may_create(tasks: Iterable[Wanted], rights: Rights) -> None:
    """Raise TaskNotAllowed, PriorityNotAllowed or InsufficientScope unless a caller may create these tasks.

    Ignores unknown names.
    """
    may_read = Scope.TASKS_READ in rights.scopes
    for task in tasks:
        check_may_run(task, rights)
        if not may_read and reads(task.celery_task_name, task.args, task.kwargs):
            raise InsufficientScope(Scope.TASKS_READ)
        if getattr(task, "webhook_url", None) is not None:  # one that runs again has none to be checked
            check_may_send(rights.user_id, rights.role)


def check_may_run(task: Named, rights: Rights) -> None:
    """Raise TaskNotAllowed or PriorityNotAllowed unless the caller's user may have this task run."""
    kind = catalogue().get(task.celery_task_name)
    if kind is not None and not kind.may_be_created_by(rights.user_id, rights.role, get_settings()):
        raise TaskNotAllowed(Text("You may not create {}: ask the operator", task.celery_task_name))
    check_priority(task.priority, rights.max_priority)


def reads(celery_task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a task with these arguments reads tasks or files of its user. False for an unknown name."""
    kind = catalogue().get(celery_task_name)
    return kind is not None and kind.reads(args, kwargs)


def may_send(user_id: UUID, role: str) -> bool:
    """Return whether a user with this id and role may have requests sent (OUTBOUND_USERS)."""
    return not {"*", f"role:{role}", str(user_id)}.isdisjoint(get_settings().outbound_users)


def check_may_send(user_id: UUID, role: str) -> None:
    """Raise TaskNotAllowed unless a user with this id and role may have requests sent."""
    if not may_send(user_id, role):
        raise TaskNotAllowed("You may not have requests sent to URLs: ask the operator")


def check_priority(priority: TaskPriority | None, max_priority: str) -> None:
    """Raise PriorityNotAllowed for a priority above the highest one that its user may give. None is none."""
    if priority is None or max_priority == TaskPriority.CRITICAL:  # nearly everyone
        return
    if priority.is_above(TaskPriority(max_priority)):
        raise PriorityNotAllowed(
            Text("Your tasks may have the priority {} at most, and not {}", max_priority, priority)
        )


def check_priorities(db: Session, tasks: Iterable[Wanted], user_id: UUID) -> int | None:
    """Check the tasks against the highest priority that the user's row says. Raises PriorityNotAllowed.

    Returns what else that row says of new tasks: what follows them (`users.followers`).
    """
    found = db.execute(select(User.max_priority, User.followers).where(User.id == user_id)).first()
    if found is None:  # the INSERT finds that there is no such user
        return None
    for task in tasks:
        check_priority(task.priority, found.max_priority)
    followers: int | None = found.followers
    return followers


def types_for(rights: Rights) -> list[TaskType]:
    """Return the tasks that a caller may create now, by name, with their time limits."""
    settings = get_settings()
    default = settings.task_time_limit_seconds or None
    may_read = Scope.TASKS_READ in rights.scopes
    return [
        kind if kind.time_limit else replace(kind, time_limit=default)
        for kind in catalogue().values()
        if not kind.missing_settings(settings)
        and kind.may_be_created_by(rights.user_id, rights.role, settings)
        and (may_read or not kind.always_reads)
    ]


def names_that_always_read() -> list[str]:
    """Return the names of the tasks that read tasks or files of their user, whatever their arguments."""
    return [name for name, kind in catalogue().items() if kind.always_reads]


def names_that_take_files() -> list[str]:
    """Return the names of the tasks whose arguments may name files."""
    return [name for name, kind in catalogue().items() if kind.task_parameters.takes_files]
