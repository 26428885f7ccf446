"""The application inside the test's own process: its settings, and what it built from them."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from app.core.config import Settings, get_settings
from app.db.session import dispose_engine


def forget_the_developers_settings() -> None:
    """Neither `.env` nor exported variables may reach a test: it could meet a database that matters."""
    Settings.model_config["env_file"] = None
    names = {name.upper() for name in Settings.model_fields}
    for variable in [name for name in os.environ if name.upper() in names]:
        del os.environ[variable]
    get_settings.cache_clear()


@contextmanager
def settings(variables: Mapping[str, str]) -> Iterator[None]:
    """These environment variables for a while; engine and settings are built anew at the start and the end."""
    _let_go()
    try:
        with pytest.MonkeyPatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            _point_celery()
            try:
                yield
            finally:
                _let_go()
    finally:
        _point_celery()
        get_settings.cache_clear()


def _let_go() -> None:
    """Drop what this process built from other settings, once its publisher has sent what it has."""
    publisher = sys.modules.get("app.messaging.publisher")
    if publisher is not None:
        publisher.flush()
    dispose_engine()
    get_settings.cache_clear()


def _point_celery() -> None:
    """Celery reads its configuration once, which may have been at collection."""
    celery = sys.modules.get("app.messaging.application")
    if celery is not None:
        conf, url = celery.celery_app.conf, os.environ.get("CELERY_BROKER_URL") or "memory://"
        conf.broker_url = conf.broker_read_url = conf.broker_write_url = url
