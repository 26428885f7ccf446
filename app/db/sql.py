"""The statements of the configured engine: `from app.db.sql import claims` gives the module of its room.

The room of PostgreSQL is `app/db/postgresql/`, that of all other engines `app/db/portable/`. Both have the same modules
with the same functions (`tests/unit/test_rooms.py`). A process has one engine: which room it uses is decided when the
first module is imported, so no call pays for the choice.
"""

# ruff: noqa: PLC0414 (`import x as x` exports x, for type checkers)

from importlib import import_module
from typing import TYPE_CHECKING, Any

from app.core.config import ConfigurationError, get_settings
from app.core.engines import POSTGRESQL

if TYPE_CHECKING:
    from app.db.postgresql import (
        api_keys as api_keys,
    )
    from app.db.postgresql import (
        attempts as attempts,
    )
    from app.db.postgresql import (
        audit as audit,
    )
    from app.db.postgresql import (
        batches as batches,
    )
    from app.db.postgresql import (
        bulk as bulk,
    )
    from app.db.postgresql import (
        claim_holds as claim_holds,
    )
    from app.db.postgresql import (
        claims as claims,
    )
    from app.db.postgresql import (
        conditions as conditions,
    )
    from app.db.postgresql import (
        daily_counts as daily_counts,
    )
    from app.db.postgresql import (
        error_groups as error_groups,
    )
    from app.db.postgresql import (
        held_tasks as held_tasks,
    )
    from app.db.postgresql import (
        idempotency as idempotency,
    )
    from app.db.postgresql import (
        limits as limits,
    )
    from app.db.postgresql import (
        live as live,
    )
    from app.db.postgresql import (
        logins as logins,
    )
    from app.db.postgresql import (
        maintenance as maintenance,
    )
    from app.db.postgresql import (
        new_tasks as new_tasks,
    )
    from app.db.postgresql import (
        periods as periods,
    )
    from app.db.postgresql import (
        prepared as prepared,
    )
    from app.db.postgresql import (
        queue_depths as queue_depths,
    )
    from app.db.postgresql import (
        quotas as quotas,
    )
    from app.db.postgresql import (
        reads as reads,
    )
    from app.db.postgresql import (
        retention as retention,
    )
    from app.db.postgresql import (
        roles as roles,
    )
    from app.db.postgresql import (
        stats as stats,
    )
    from app.db.postgresql import (
        task_counts as task_counts,
    )
    from app.db.postgresql import (
        task_filter as task_filter,
    )
    from app.db.postgresql import (
        task_logs as task_logs,
    )
    from app.db.postgresql import (
        task_pages as task_pages,
    )
    from app.db.postgresql import (
        task_rows as task_rows,
    )
    from app.db.postgresql import (
        throttle as throttle,
    )
    from app.db.postgresql import (
        transitions as transitions,
    )
    from app.db.postgresql import (
        turns as turns,
    )
    from app.db.postgresql import (
        unique_keys as unique_keys,
    )
    from app.db.postgresql import (
        user_places as user_places,
    )
    from app.db.postgresql import (
        users as users,
    )
    from app.db.postgresql import (
        workers as workers,
    )


def _engine() -> str:
    try:
        return get_settings().database_engine
    except ConfigurationError:
        return POSTGRESQL  # whoever starts anything reads the settings, and tells what is wrong with them


ROOM = "app.db.postgresql" if _engine() == POSTGRESQL else "app.db.portable"


def __getattr__(name: str) -> Any:
    try:
        module = import_module(f"{ROOM}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{ROOM}.{name}":
            raise
        raise AttributeError(f"{ROOM} has no module {name}") from None
    globals()[name] = module
    return module
