"""The application inside the test's own process: its settings, and what it built from them."""

import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import CursorResult, Row

from app.core.config import Settings, get_settings
from app.db.session import SessionLocal, dispose_engine
from app.launcher.fork_server import PLACEHOLDERS
from app.storage import storage
from tests.support.bounds import bounds_in
from tests.support.databases import DIALECT
from tests.support.services import Services, environment
from tests.support.spelling import spelled


def forget_the_developers_settings() -> None:
    """Neither `.env` nor exported variables may reach a test: it could meet a database that matters."""
    Settings.model_config["env_file"] = None
    names = {name.upper() for name in Settings.model_fields}
    for variable in [name for name in os.environ if name.upper() in names]:
        del os.environ[variable]
    if DIALECT in PLACEHOLDERS:  # before the first import of `app.db.sql`, which settles the engine of this process
        os.environ["DATABASE_URL"] = PLACEHOLDERS[DIALECT]
    get_settings.cache_clear()


def make_app() -> FastAPI:
    """`create_app()`, but that its start does not collect garbage: that walks all that pytest holds, 0.2 s a time."""
    from app import main

    app = main.create_app()
    whole = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(started: FastAPI) -> AsyncIterator[Any]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(main, "_rarely_collected", nullcontext)
            async with whole(started) as state:
                yield state

    app.router.lifespan_context = lifespan
    return app


@contextmanager
def settings(variables: Mapping[str, str]) -> Iterator[None]:
    """These environment variables for a while; engine and settings are built anew at the start and the end."""
    _let_go()
    try:
        with pytest.MonkeyPatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            for module, name, value in bounds_in(variables):
                patched.setattr(module, name, value)
            _point_celery()
            try:
                yield
            finally:
                _let_go()
    finally:
        _point_celery()
        get_settings.cache_clear()


@contextmanager
def on_new_database(services: Services, **more: str) -> Iterator[str]:
    """This process's settings name a database of its own, which is dropped at the end; its name. `more` are settings."""
    name = services.new_database()
    kept = {"STORAGE_URL": (services.directory / "files" / name).as_uri(), **more}
    with settings(environment(services.database_url(name), services.flushed_broker(), **kept)):
        yield name
    services.drop_database(name)


def sql(statement: str, **values: Any) -> Sequence[Row[Any]]:
    """One statement on the database that this process's settings name, committed; its rows, if it gives any."""
    with SessionLocal.begin() as db:
        result = db.execute(spelled(statement, values))
        return result.all() if isinstance(result, CursorResult) and result.returns_rows else []


def _let_go() -> None:
    """Drop what this process built from other settings, once its threads have done what they have to do."""
    storage.replace(None)
    for name, flush in (("app.services.operations.admission", "flush_admissions"), ("app.messaging.wakeups", "flush")):
        if name in sys.modules:
            getattr(sys.modules[name], flush)()
    for thread in threading.enumerate():
        if thread.name == "quota-usage":  # on a slow machine: it would build an engine between two settings
            thread.join(10)
    dispose_engine()
    get_settings.cache_clear()


def _point_celery() -> None:
    """Celery reads its configuration once, which may have been at collection."""
    celery = sys.modules.get("app.messaging.application")
    if celery is not None:
        conf, url = celery.celery_app.conf, os.environ.get("CELERY_BROKER_URL") or "memory://"
        conf.broker_url = conf.broker_read_url = conf.broker_write_url = url
