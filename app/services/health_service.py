"""Checks whether the service's dependencies are available.

Each check is bounded; no state names an address or a secret.
"""

import ast
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy import column, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

import app
from app.core.config import get_settings
from app.db.session import engine
from app.errors import NotReady, ServiceError

CHECK_SECONDS = 2.0
OK = "ok"
_SILENT = "does not answer"
_MIGRATIONS = Path(app.__file__).parent / "migrations" / "versions"
_REVISION = re.compile(r"^(revision|down_revision)\b[^=\n]*=(.+)$", re.MULTILINE)

_VERSION = table("alembic_version", column("version_num"))

Check = Callable[[], str]


class HealthService:
    """Runs the readiness checks."""

    def __init__(self) -> None:
        # Threads of its own: requests that wait for a dead database must not delay the checks.
        self._threads: CapacityLimiter | None = None

    async def readiness(self) -> dict[str, str]:
        """Return the state of each check, such as `{"database": "ok"}`. Raises NotReady if one is not "ok"."""
        checks: dict[str, Check] = {
            "database": check_database,
            "migrations": check_migrations,
            "broker": check_broker,
        }
        states = dict.fromkeys(checks, f"no answer within {CHECK_SECONDS:.0f} s")
        self._threads = self._threads or CapacityLimiter(2 * len(checks))

        async def run(name: str, check: Check) -> None:
            with anyio.move_on_after(CHECK_SECONDS):
                states[name] = await anyio.to_thread.run_sync(check, abandon_on_cancel=True, limiter=self._threads)

        async with anyio.create_task_group() as group:
            for name, check in checks.items():
                group.start_soon(run, name, check)
        if any(state != OK for state in states.values()):
            raise NotReady(states)
        return states


def check_database() -> str:
    """Return "ok", or why the database is unavailable."""
    try:
        with engine().connect() as connection:
            connection.execute(select(1))
    except ServiceError as error:
        return error.detail
    except SQLAlchemyError:
        return _SILENT
    return OK


def check_migrations() -> str:
    """Return "ok" if the database has the newest migration of the code, otherwise what is missing."""
    head = _head()
    try:
        with engine().connect() as connection:
            if not inspect(connection).has_table(_VERSION.name):
                return "not migrated: run `alembic upgrade head`"
            at = connection.scalar(select(_VERSION.c.version_num))
    except ServiceError as error:
        return error.detail
    except SQLAlchemyError:
        return "unknown: the database does not answer"
    return OK if at == head else f"at {at}, the code needs {head}"


@lru_cache(maxsize=1)
def _head() -> str:
    """Return the newest migration. Read from the files, because Alembic would take memory in each API process."""
    found = [_read(path) for path in _MIGRATIONS.glob("*.py")]
    (head,) = {revision for revision, _ in found} - {before for _, before in found}
    return head


def _read(path: Path) -> tuple[str, str | None]:
    """Return a migration's revision and the one before it."""
    assigned = dict(_REVISION.findall(path.read_text(encoding="utf-8")))
    return ast.literal_eval(assigned["revision"]), ast.literal_eval(assigned["down_revision"])


def check_broker() -> str:
    """Return "ok", or why the broker is unavailable. One round trip.

    kombu is imported here, because only processes that check need it.
    """
    kombu: Any = import_module("kombu")  # typed only in part
    url = get_settings().celery_broker_url
    if url is None:
        return "CELERY_BROKER_URL is not set"
    bounds = {"socket_timeout": CHECK_SECONDS, "socket_connect_timeout": CHECK_SECONDS}
    try:
        with kombu.Connection(
            url.get_secret_value(), connect_timeout=CHECK_SECONDS, transport_options=bounds
        ) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=CHECK_SECONDS)
            if connection.transport.driver_type == "redis":
                # kombu connects to Redis lazily: only a command reaches the server.
                connection.default_channel.client.ping()
    except Exception:  # noqa: BLE001 (each transport has its own errors)
        return _SILENT
    return OK


health_service = HealthService()
