"""The statements of the configured engine: `from app.db.sql import claims` gives the module of that name.

On PostgreSQL it is that of `app/db/postgresql/` where there is one; else, and on all other engines, that of
`app/db/statements/`. A process has one engine: which module it uses is decided at its first import, so no call pays for
the choice. `tests/unit/test_statement_packages.py` compares both.
"""

# ruff: noqa: PLC0414 (`import x as x` exports x, for type checkers)

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from app.core.config import ConfigurationError, get_settings
from app.core.engines import POSTGRESQL

if TYPE_CHECKING:
    from app.db.postgresql import (
        api_keys as api_keys,
        attempts as attempts,
        audit as audit,
        batches as batches,
        bulk as bulk,
        claim_holds as claim_holds,
        claims as claims,
        conditions as conditions,
        daily_counts as daily_counts,
        error_groups as error_groups,
        held_tasks as held_tasks,
        idempotency as idempotency,
        limits as limits,
        live as live,
        logins as logins,
        maintenance as maintenance,
        new_tasks as new_tasks,
        periods as periods,
        prepared as prepared,
        queue_depths as queue_depths,
        quotas as quotas,
        reads as reads,
        retention as retention,
        roles as roles,
        stats as stats,
        task_counts as task_counts,
        task_filter as task_filter,
        task_logs as task_logs,
        task_pages as task_pages,
        task_rows as task_rows,
        throttle as throttle,
        transitions as transitions,
        turns as turns,
        unique_keys as unique_keys,
        user_places as user_places,
        users as users,
        workers as workers,
    )


def _engine() -> str:
    try:
        return get_settings().database_engine
    except ConfigurationError:
        return POSTGRESQL  # whoever starts anything reads the settings, and tells what is wrong with them


PACKAGES = ("app.db.postgresql", "app.db.statements") if _engine() == POSTGRESQL else ("app.db.statements",)


def __getattr__(name: str) -> Any:
    path = next((path for package in PACKAGES if find_spec(path := f"{package}.{name}")), None)
    if path is None:
        raise AttributeError(f"there is no {PACKAGES[-1]}.{name}")
    module = import_module(path)
    globals()[name] = module
    return module
