"""Answers 503 `not_migrated` under /api/ until the database has the schema that the code needs."""

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.http.problems import service_problem
from app.api.http.requests import route_path
from app.core.config import Settings
from app.db.compatibility import LOOK_SECONDS, OncePerMinute, SchemaPreparation
from app.db.outage import first_line, is_passing
from app.errors import NotMigrated, Unavailable
from app.services.health_service import check_migrations

logger = logging.getLogger(__name__)

STATE = "schema_gate"


class SchemaGate:
    """Looks at the schema until it fits once. `fault` says what is wrong meanwhile; None lets requests pass."""

    def __init__(self, settings: Settings, on_ready: Callable[[], None]) -> None:
        self.fault: str | None = None
        self._preparation = SchemaPreparation(settings)
        self._told = OncePerMinute()
        self._on_ready = on_ready
        self._ready = False
        self._looks = threading.Lock()
        self._begun = 0  # looks so far

    def state(self) -> str:
        """Return what /readyz says of the schema: "ok" only once requests pass, so it looks now where they do not yet.

        Another look that is under way has not passed them yet, and is not waited for.
        """
        if not self._ready and self._looks.acquire(blocking=False):
            try:
                self._look_once()
            finally:
                self._looks.release()
        return self.fault or check_migrations()

    def look_again(self) -> None:
        """Look, unless another look begins meanwhile: another process may have said already that the schema fits."""
        begun = self._begun
        with self._looks:
            if not self._ready and self._begun == begun:
                self._look_once()

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look once before the first request, and then every LOOK_SECONDS until the schema fits."""
        await anyio.to_thread.run_sync(self._look)
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_again)
            yield
            group.cancel_scope.cancel()

    async def _look_again(self) -> None:
        while not self._ready:
            await anyio.sleep(LOOK_SECONDS)
            await anyio.to_thread.run_sync(self._look)

    def _look(self) -> None:
        with self._looks:
            if not self._ready:
                self._look_once()

    def _look_once(self) -> None:
        """Whatever goes wrong here, the API starts and the next look comes."""
        self._begun += 1
        try:
            self._compare()
        except Exception:  # noqa: BLE001 (it would end the lifespan's task group, silently)
            self._tell("the schema could not be compared with the code, requests pass as before", exc_info=True)

    def _compare(self) -> None:
        try:
            self.fault = self._preparation.fault()
        except SQLAlchemyError as error:
            if is_passing(error):
                return  # requests meet the same, and say so
            # Such as a role that may not read `alembic_version`: requests need other tables.
            logger.warning("the schema is not compared with the code: %s", first_line(error))
        except Unavailable as error:  # DATABASE_URL is not set, and stays so
            logger.error("requests are answered with 503: %s", error.detail)  # noqa: TRY400 (one line)
            self._ready = True
            return
        if self.fault is None:
            self._ready = True
            self._on_ready()
        else:
            self._tell(f"requests are answered with 503: {self.fault}")

    def _tell(self, text: str, *, exc_info: bool = False) -> None:
        if self._told.is_due(text):
            logger.error("%s", text, exc_info=exc_info)


class RefuseUnmigrated:
    """ASGI middleware: asks the gate of the lifespan's state, where there is one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: dict[str, Any] = scope.get("state", {})
        gate: SchemaGate | None = state.get(STATE)
        if gate is not None and gate.fault and scope["type"] == "http" and route_path(scope).startswith("/api/"):
            await anyio.to_thread.run_sync(gate.look_again)
            if gate.fault:
                await service_problem(scope, NotMigrated(gate.fault, retry_after=5))(scope, receive, send)
                return
        await self.app(scope, receive, send)
