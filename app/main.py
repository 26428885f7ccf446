"""The HTTP application: `uvicorn app.main:app`."""

# ruff: noqa: E402 (the collector pauses before anything else is imported)

import gc

# What is imported stays. The collector would walk through it again and again, for a fifth of the time of a start.
gc.disable()

import logging
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from app.core.api_process import deferred_models

with deferred_models():  # forty of the OpenAPI document, which few processes are asked for
    import fastapi.openapi.models  # noqa: F401

import anyio
import anyio.to_thread
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.routing import BaseRoute

from app.api.deps import UntrustedProxies, check_token, get_scoped_user, oauth2_scheme
from app.api.endpoints.tasks import TASKS
from app.api.http.body_route import LARGE_JSON, bound_bodies
from app.api.http.error_handlers import add_problem_handlers
from app.api.http.fast_path import FastPath
from app.api.http.middleware import (
    MCP_HEADERS,
    Cors,
    RequestContext,
    RequestLimits,
    RequestMetrics,
    UnhandledErrors,
    telemetry,
)
from app.api.http.openapi import operation_id
from app.api.http.password_limits import PasswordTurns, Refusals
from app.api.http.schema_gate import STATE as SCHEMA_GATE, RefuseUnmigrated, SchemaGate
from app.api.http.sse import on_shutdown
from app.api.http.uploads import AROUND_BYTES
from app.api.routes import PREFIX, TAGS, add_routes
from app.catalogue import catalogue
from app.core import process_start
from app.core.api_process import raise_open_files_limit, single_malloc_arena
from app.core.config import ConfigurationError, Settings, get_settings, warn_of_settings
from app.core.fair_threads import FairThreads
from app.core.logging import configure_logging, optimize_access_log
from app.core.metrics import forget_process
from app.core.process_start import GC_THRESHOLDS
from app.core.version import VERSION
from app.db.outage import first_line
from app.db.session import SessionLocal, dispose_engine, end_idle_transactions
from app.errors import ServiceError
from app.live.watcher import running_watcher
from app.messaging.hints import hint_sender
from app.messaging.loader import check_task_modules
from app.services.accounts.auth_service import check_first_admin_password
from app.services.accounts.totp_service import totp_service
from app.services.batched.authenticator import Authenticator
from app.services.batched.submitter import Submitter
from app.services.batched.task_reads import TaskLists, TaskLookup
from app.services.user_service import user_service
from app.services.webhooks.service import webhook_service

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Create background tasks, follow their progress, cancel them and retry them. Celery runs the tasks; a database stores
their state.

基于 FastAPI 与 Celery 的异步任务处理系统：创建、查询、取消、重试任务，状态以数据库为准。

To try the operations on this page, press **Authorize**. Then log in with your username and password, or paste an API
key (`tsk_…`). Programs send `Authorization: Bearer <token>` with an access token or an API key. A login has all rights
of its user. An API key has the rights of its scopes; each operation lists the scopes that it needs.

Every error has the media type `application/problem+json` (RFC 9457) and a stable `code`.
"""


def create_app() -> FastAPI:
    """Return an application on the settings of this process."""
    settings = get_settings()
    check_task_modules(settings)
    check_first_admin_password(settings)
    app = FastAPI(
        telemetry=telemetry(),
        title="Task Service",
        summary="Background tasks over HTTP, on Celery and a database.",
        description=DESCRIPTION,
        version=VERSION,
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_tags=TAGS,
        # Served by `app.api.endpoints.docs`, from files of our own.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        lifespan=partial(_lifespan, settings),
    )
    add_problem_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(FastPath, routes=app.router.routes, authorization=get_scoped_user)
    app.add_middleware(
        RequestLimits,
        max_body_bytes=settings.max_body_bytes,
        allowed_hosts=settings.allowed_hosts,
        uploads=dict.fromkeys((f"{PREFIX}/files", "/ui/files"), settings.max_file_bytes + AROUND_BYTES),
    )
    app.add_middleware(RefuseUnmigrated)
    app.add_middleware(RequestMetrics)
    app.add_middleware(UnhandledErrors)
    if settings.cors_origins:
        more_headers = MCP_HEADERS if settings.mcp_enabled else ()
        app.add_middleware(Cors, origins=settings.cors_origins, more_headers=more_headers)
    app.add_middleware(RequestContext, hsts=settings.app_env == "production")
    if settings.web_ui:
        from app.web.application import create_pages, internal_page

        # Before the other routes: else each page is compared with the path of each of them first.
        app.mount("/ui", UnhandledErrors(create_pages(settings), internal_page))
    add_routes(app)
    if settings.mcp_enabled:
        app.router.routes.extend(_mcp_routes(settings))
    bound_bodies(app.router.routes, settings, oauth2_scheme, check_token)
    return app


def _mcp_routes(settings: Settings) -> Sequence[BaseRoute]:
    """Return the routes of the MCP endpoint. Raises ConfigurationError without the package."""
    try:
        # Here: it takes half a second and 20 MiB.
        from app.mcp.server import routes
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        raise ConfigurationError(
            "configuration: MCP_ENABLED=true needs the package mcp: pip install 'task-service[mcp]'"
        ) from None
    return routes(settings)


@asynccontextmanager
async def _lifespan(settings: Settings, _app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    configure_logging(settings)
    warn_of_settings(settings)
    optimize_access_log()
    raise_open_files_limit()
    end_idle_transactions()
    _tell_of_an_unbounded_server(settings)
    if settings.celery_broker_url is None:
        logger.error("CELERY_BROKER_URL is not set: tasks stay pending. Set it in .env, or start with run_server.py")
    async with single_malloc_arena():  # before the first thread has an arena
        # What is not asked for by a user's request: the metrics, the first look at the catalogue.
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.api_threads
        # Else the first request that shows or takes a task would import them all, and TASK_MODULES may take seconds: in
        # the event loop, or within a transaction, which the server ends after IDLE_MS.
        await anyio.to_thread.run_sync(catalogue)
        gate = SchemaGate(settings, on_ready=partial(_on_ready, settings))
        try:
            hint_sender().start()
            proxies = UntrustedProxies() if settings.app_env == "production" else None
            state = {
                SCHEMA_GATE: gate,
                "password_turns": PasswordTurns(),
                "refusals": Refusals(),
                "untrusted_proxies": proxies,
            }
            async with gate.looking(), running_watcher() as watcher, _groups(settings) as groups, _mcp(settings) as mcp:
                with _rarely_collected(), on_shutdown(watcher.close):
                    yield {"watcher": watcher, **state, **groups, **mcp}
        finally:
            await anyio.to_thread.run_sync(hint_sender().stop)
            await anyio.to_thread.run_sync(dispose_engine)
            forget_process()


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Keep what was imported until now from the collector, which would hold all requests up for 100 ms."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


# Requests of one user, without a login of one address, that may wait for a thread: more than any client of one user
# sends at once, and so few that their answers come within seconds.
WAITING_PER_USER = 100


@asynccontextmanager
async def _groups(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Start the threads, and the batches of what is asked for at the same moment.

    At the end what is in flight is answered.
    """
    threads = FairThreads(settings.api_threads, WAITING_PER_USER)
    authenticator, submitter, task_lookup = Authenticator(threads), Submitter(threads), TaskLookup(threads)
    task_lists = TaskLists(threads, TASKS.render)
    try:
        yield {
            "threads": threads,
            "authenticator": authenticator,
            "submitter": submitter,
            "task_lookup": task_lookup,
            "task_lists": task_lists,
            LARGE_JSON: anyio.CapacityLimiter(1),  # each thread more would compete with the event loop, too
        }
    finally:
        for group in (authenticator, submitter, task_lookup, task_lists):
            await group.close()


@asynccontextmanager
async def _mcp(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """Start what answers the MCP endpoint, if there is one."""
    if not settings.mcp_enabled:
        yield {}
        return
    from app.mcp.server import STATE, max_body_bytes, running_manager

    async with running_manager(settings, max_body_bytes(settings)) as manager:
        yield {STATE: manager}


def _tell_of_an_unbounded_server(settings: Settings) -> None:
    """Warn where headers are unbounded: uvicorn's protocol bounds them, which only its command line chooses."""
    if settings.app_env == "production" and "uvicorn" in sys.modules and "app.api.http.protocol" not in sys.modules:
        logger.warning("headers have no end here: start uvicorn with --http app.api.http.protocol:BoundedProtocol")


def _on_ready(settings: Settings) -> None:
    """Do what waits for the schema: the first administrator, and the keys of a rotation."""
    _ensure_first_admin(settings)
    if settings.secret_key_previous:
        _renew_encryption()


def _renew_encryption() -> None:
    try:
        with SessionLocal() as db:
            renewed = totp_service.renew_encryption(db) + webhook_service.renew_encryption(db)
    except (ServiceError, SQLAlchemyError) as error:
        logger.warning("secrets were not encrypted with the new SECRET_KEY: %s", first_line(error))
    else:
        if renewed:
            logger.info("%d secrets in the database are now encrypted with the new SECRET_KEY", renewed)


def _ensure_first_admin(settings: Settings) -> None:
    """Make the first administrator. A database that is down does not keep the API from starting: see /readyz."""
    if settings.first_admin_username is None or settings.first_admin_password is None:
        return
    try:
        with SessionLocal() as db:
            user_service.ensure_first_admin(
                db,
                settings.first_admin_username,
                settings.first_admin_password.get_secret_value(),
                settings.first_admin_email,
            )
    except (ServiceError, SQLAlchemyError) as error:
        logger.warning("the first administrator was not created: %s", first_line(error))


try:
    if logging.getLogger("uvicorn").handlers:  # its lines take the service's form from the first one on
        configure_logging(get_settings())
    app = create_app()
except ConfigurationError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(process_start.EXIT_CONFIGURATION) from None
finally:
    gc.enable()
