"""How the service connects to each engine: `of(engine)` gives the module with its options, limits and events."""

from types import ModuleType

from app.core.engines import MYSQL, SQLITE
from app.db.connections import mysql, postgresql, sqlite


def of(engine: str) -> ModuleType:
    """Return the module for POSTGRESQL, MYSQL or SQLITE of `app/core/engines.py`."""
    return {MYSQL: mysql, SQLITE: sqlite}.get(engine, postgresql)
