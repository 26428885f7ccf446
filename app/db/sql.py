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
        attached_rows as attached_rows,
        attempts as attempts,
        claims as claims,
        counts as counts,
        held_tasks as held_tasks,
        limits as limits,
        live as live,
        new_tasks as new_tasks,
        prepared as prepared,
        released_children as released_children,
        roles as roles,
        task_pages as task_pages,
        transitions as transitions,
        turns as turns,
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
