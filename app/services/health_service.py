"""Whether the parts that the service needs are there. Each check is bounded; no state names an address or a secret."""

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
from sqlalchemy import func, select, text
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

Check = Callable[[], str]


class HealthService:
    def __init__(self) -> None:
        # Threads of its own: requests that wait for a dead database must not keep this from saying so.
        self._threads: CapacityLimiter | None = None

    async def readiness(self) -> dict[str, str]:
        """`{"database": "ok", …}`. Raises NotReady when any of them is not."""
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
    try:
        with engine().connect() as connection:
            connection.execute(text("SELECT 1"))
    except ServiceError as error:
        return error.detail
    except SQLAlchemyError:
        return _SILENT
    return OK


def check_migrations() -> str:
    """Whether the database is where the code's migrations end."""
    head = _head()
    try:
        with engine().connect() as connection:
            if connection.scalar(select(func.to_regclass("alembic_version"))) is None:
                return "not migrated: run `alembic upgrade head`"
            at = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except ServiceError as error:
        return error.detail
    except SQLAlchemyError:
        return "unknown: the database does not answer"
    return OK if at == head else f"at {at}, the code needs {head}"


@lru_cache(maxsize=1)
def _head() -> str:
    """The migration that no other one follows, read from the files: Alembic is 7 MB that no API process needs."""
    found = [_read(path) for path in _MIGRATIONS.glob("*.py")]
    (head,) = {revision for revision, _ in found} - {before for _, before in found}
    return head


def _read(path: Path) -> tuple[str, str | None]:
    """A migration's revision, and the one that it follows."""
    said = dict(_REVISION.findall(path.read_text(encoding="utf-8")))
    return ast.literal_eval(said["revision"]), ast.literal_eval(said["down_revision"])


def check_broker() -> str:
    """One round trip to the broker. Imported here: a process that never asks needs no client."""
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
                # kombu connects lazily here: only a command meets the server.
                connection.default_channel.client.ping()
    except Exception:  # noqa: BLE001 (each transport has errors of its own)
        return _SILENT
    return OK


health_service = HealthService()
