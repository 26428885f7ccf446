"""Who may create which task: a task of the catalogue may name a setting that lists its users.

Python code that calls `task_service` is trusted, as with quotas.
"""

from collections.abc import Iterable
from uuid import UUID

from app.catalogue import TaskType, catalogue
from app.core.config import get_settings
from app.errors import TaskNotAllowed


def check_may_create(celery_task_names: Iterable[str], user_id: UUID, role: str) -> None:
    """Raise TaskNotAllowed unless a user with this id and role may create these tasks. Ignores unknown names."""
    known = catalogue()
    for name in celery_task_names:
        kind = known.get(name)
        if kind is not None and kind.users_setting and not kind.may_be_created_by(user_id, role, get_settings()):
            raise TaskNotAllowed(f"You may not create {name}: ask the operator")


def types_for(user_id: UUID, role: str) -> list[TaskType]:
    """Return the tasks that a user with this id and role may create now, by name."""
    settings = get_settings()
    return [
        kind
        for kind in catalogue().values()
        if not kind.missing_settings(settings) and kind.may_be_created_by(user_id, role, settings)
    ]
