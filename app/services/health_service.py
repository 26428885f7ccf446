"""Checks whether the service's dependencies are available.

Each check is bounded; no state names an address or a secret.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import anyio
import anyio.to_thread
from anyio import CapacityLimiter
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import get_settings
from app.db.compatibility import schema_fault
from app.db.outage import DISK_FULL, NO_TABLE, READ_ONLY, is_outage, is_passing, sqlstate
from app.db.session import engine
from app.db.statements import probes
from app.errors import NotReady, ServiceError

CHECK_SECONDS = 2.0
OK = "ok"
_SILENT = "does not answer"
Check = Callable[[], str]


class HealthService:
    """Runs the readiness checks."""

    def __init__(self) -> None:
        # Threads of its own: requests that wait for a dead database must not delay the checks.
        self._threads: CapacityLimiter | None = None
        self._running: asyncio.Future[dict[str, str]] | None = None

    async def readiness(self, migrations: Check) -> dict[str, str]:
        """Return the state of each check, such as `{"database": "ok"}`. Raises NotReady if one is not "ok".

        All who ask while the checks run get the same answer: anybody may ask.
        """
        loop = asyncio.get_running_loop()
        if self._running is None or self._running.done() or self._running.get_loop() is not loop:
            self._running = asyncio.ensure_future(self._states(migrations))
        states = await asyncio.shield(self._running)
        if any(state != OK for state in states.values()):
            raise NotReady(states)
        return states

    async def _states(self, migrations: Check) -> dict[str, str]:
        checks: dict[str, Check] = {"database": check_database, "migrations": migrations, "broker": check_broker}
        states = dict.fromkeys(checks, f"no answer within {CHECK_SECONDS:.0f} s")
        self._threads = self._threads or CapacityLimiter(2 * len(checks))

        async def run(name: str, check: Check) -> None:
            with anyio.move_on_after(CHECK_SECONDS):
                states[name] = await anyio.to_thread.run_sync(check, abandon_on_cancel=True, limiter=self._threads)

        async with anyio.create_task_group() as group:
            for name, check in checks.items():
                group.start_soon(run, name, check)
        return states


# Why a database that answers takes no writes, by SQLSTATE.
_REFUSES = {READ_ONLY: "read-only: it takes no writes", DISK_FULL: "its disk is full: it takes no writes"}


# Anybody may ask for the state: no more than one of them holds a connection.
_one_write = threading.Lock()


def check_database() -> str:
    """Return "ok", or why the database is unavailable. A write, since one that is read-only or full still answers."""
    if not _one_write.acquire(timeout=CHECK_SECONDS):
        return _SILENT
    try:
        with engine().begin() as connection:
            probes.probe_write(connection, CHECK_SECONDS / 2)
    except ServiceError as error:
        return error.detail
    except SQLAlchemyError as error:
        state = sqlstate(error)
        # It is not migrated, which another check says; or it answers, and another transaction holds the row.
        if state == NO_TABLE or (is_passing(error) and not is_outage(error)):
            return OK
        return _REFUSES.get(state, _SILENT if is_outage(error) or not state else "it refuses writes: see its log")
    finally:
        _one_write.release()
    return OK


def check_migrations() -> str:
    """Return "ok" if the database has the migrations of the code, or newer ones, otherwise what is missing."""
    try:
        return schema_fault() or OK
    except ServiceError as error:
        return error.detail
    except SQLAlchemyError as error:
        if is_passing(error):
            return "unknown: the database does not answer"
        return "unknown: this role cannot read the table alembic_version"


def check_broker() -> str:
    """Return "ok", or why the broker is unavailable. One round trip."""
    url = get_settings().celery_broker_url
    if url is None:
        return "CELERY_BROKER_URL is not set"
    try:
        with open_broker(url.get_secret_value(), CHECK_SECONDS):
            return OK
    except Exception:  # noqa: BLE001 (each transport has its own errors)
        return _SILENT


@contextmanager
def open_broker(url: str, seconds: float) -> Iterator[Any]:
    """A connection of kombu to this broker, which has answered. Raises the errors of its transport.

    kombu is imported here, because only processes that check need it. `redis_client` gives the client of Redis.
    """
    kombu: Any = import_module("kombu")  # typed only in part
    bounds = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    with kombu.Connection(url, connect_timeout=seconds, transport_options=bounds) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=seconds)
        client = redis_client(connection)
        if client is not None:
            client.ping()  # kombu connects to Redis lazily: only a command reaches the server
        yield connection


def redis_client(connection: Any) -> Any:
    """Return the client of a connection to Redis or Valkey; None for another broker."""
    return connection.default_channel.client if connection.transport.driver_type == "redis" else None


health_service = HealthService()
