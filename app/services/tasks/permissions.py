"""Who may create which task, and with which priority.

A task of the catalogue may name a setting that lists its users. Administrators set the highest priority of each user.

What a request of the API does is checked against its caller. Python code that calls `task_service` is trusted, as with
quotas, but for one thing: the tasks that it creates keep to the highest priority of the user whose they will be.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from app.catalogue import TaskType, catalogue
from app.core.config import get_settings
from app.errors import PriorityNotAllowed, TaskNotAllowed
from app.models.task import TaskPriority
from app.services.accounts.user_queries import of_new_tasks


class Wanted(Protocol):
    """A task to be created, or one that is to run again."""

    @property
    def celery_task_name(self) -> str: ...

    @property
    def priority(self) -> TaskPriority: ...


def check_may_create(tasks: Iterable[Wanted], user_id: UUID, role: str, max_priority: str) -> None:
    """Raise TaskNotAllowed or PriorityNotAllowed unless a user with these properties may create these tasks.

    Ignores unknown names.
    """
    known = catalogue()
    for task in tasks:
        name = task.celery_task_name
        kind = known.get(name)
        if kind is not None and kind.users_setting and not kind.may_be_created_by(user_id, role, get_settings()):
            raise TaskNotAllowed(f"You may not create {name}: ask the operator")
        check_priority(task.priority, max_priority)
        if getattr(task, "webhook_url", None) is not None:  # one that runs again has none to be checked
            check_may_send(user_id, role)


def may_send(user_id: UUID, role: str) -> bool:
    """Whether a user with this id and role may have requests sent (OUTBOUND_USERS)."""
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
        raise PriorityNotAllowed(f"Your tasks may have the priority {max_priority} at most, and not {priority}")


def check_priorities(db: Session, tasks: Iterable[Wanted], user_id: UUID) -> int | None:
    """Check the tasks against the highest priority that the user's row says. Raises PriorityNotAllowed.

    Returns what else that row says of new tasks: what follows them (`users.followers`).
    """
    found = of_new_tasks(db, user_id)
    if found is None:  # the INSERT finds that there is no such user
        return None
    max_priority, followers = found
    for task in tasks:
        check_priority(task.priority, max_priority)
    return followers


def types_for(user_id: UUID, role: str) -> list[TaskType]:
    """Return the tasks that a user with this id and role may create now, by name, with their time limits."""
    settings = get_settings()
    default = settings.task_time_limit_seconds or None
    return [
        kind if kind.time_limit else replace(kind, time_limit=default)
        for kind in catalogue().values()
        if not kind.missing_settings(settings) and kind.may_be_created_by(user_id, role, settings)
    ]
