"""The application inside the test's own process: its settings, and what it built from them."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
    before = {name: os.environ.get(name) for name in variables}
    _let_go()
    try:
        os.environ.update(variables)
        _point_celery()
        yield
    finally:
        _let_go()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _point_celery()
        get_settings.cache_clear()


def _let_go() -> None:
    """Drop what this process built from other settings, once its publisher has sent what it has."""
    publisher = sys.modules.get("app.messaging.publisher")
    if publisher is not None:
        publisher.publisher.flush()
    dispose_engine()
    get_settings.cache_clear()


def _point_celery() -> None:
    """The application reads its broker's address when it is imported, which may have been at collection."""
    celery = sys.modules.get("app.celery_app")
    if celery is not None:
        celery.celery_app.conf.broker_url = os.environ.get("CELERY_BROKER_URL") or "memory://"
