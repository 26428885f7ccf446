"""Warnings about settings that a process takes: a name that is probably misspelt, and a weak SECRET_KEY."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from app.core.config import Settings
from app.core.nearest import did_you_mean, edits
from app.core.production import is_weak

logger = logging.getLogger(__name__)

MAX_EDITS = 2
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# What docker-compose.yml asks for beside settings.
OF_COMPOSE = frozenset({
    "API_PORT", "FORWARDED_ALLOW_IPS", "POSTGRES_APP_PASSWORD", "POSTGRES_IMAGE", "POSTGRES_PASSWORD", "PYTHON_IMAGE",
    "VALKEY_IMAGE", "VALKEY_PASSWORD", "WORKER_CONCURRENCY",
})  # fmt: skip
# https://docs.celeryq.dev/en/stable/userguide/configuration.html, and what Celery 5 reads beside it.
OF_CELERY = frozenset({
    "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_CONFIG_MODULE", "CELERY_CUSTOM_WORKER_POOL",
    "CELERY_LOADER", "CELERY_LOG_FILE", "CELERY_LOG_LEVEL", "CELERY_LOG_REDIRECT", "CELERY_LOG_REDIRECT_LEVEL",
    "CELERY_RDB_HOST", "CELERY_RDB_PORT", "CELERY_SKIP_CHECKS", "CELERY_TRACE_APP", "C_FORCE_ROOT", "WORKER_LOGLEVEL",
})  # fmt: skip
_OF_COMPOSE_ITSELF = ("COMPOSE_", "DOCKER_")
_OTHERS = OF_COMPOSE | OF_CELERY | {"TASK_SERVICE_URL"}  # the last one is of clients

_logged: set[str] = set()


def warn_of_settings(settings: Settings) -> None:
    """Log each warning about the settings, once in this process."""
    for line in setting_warnings(settings):
        if line not in _logged:
            _logged.add(line)
            logger.warning("%s", line)


def setting_warnings(settings: Settings) -> Iterator[str]:
    """Yield a line for each name that is no setting, and for a weak SECRET_KEY. No line has a value.

    In `.env` every unknown name counts. The environment is full of other names: only one that is at most two edits
    away from a setting counts.
    """
    file = Settings.model_config.get("env_file")
    lines = _lines_of(Path(file)) if isinstance(file, str) and Path(file).is_file() else []
    for number, name in lines:
        if name is None:
            yield f"configuration: line {number} of .env is not NAME=value: it has no effect"
    yield from misspelt(os.environ, {name: None for _, name in lines if name is not None})
    key = settings.secret_key
    if settings.app_env != "production" and key is not None and is_weak(key.get_secret_value()):
        yield "SECRET_KEY is short or a placeholder: good enough for development only"


def _lines_of(file: Path) -> list[tuple[int, str | None]]:
    """Return the number and the name of each line; None for one without a name, which may be the rest of a secret."""
    with file.open(encoding="utf-8") as stream:
        parsed = list(parse_stream(stream))
    return [
        (each.original.line, each.key if each.key and each.value is not None and _NAME.fullmatch(each.key) else None)
        for each in parsed
        if each.key is not None or each.error
    ]


def misspelt(environment: Mapping[str, object], in_file: Mapping[str, object]) -> Iterator[str]:
    """Yield a line for each name of the two that is probably meant to be a setting."""
    known = {name.upper() for name in Settings.model_fields}
    for name in in_file:
        if not _is_known(name, known):
            yield f"configuration: {name} in .env is no setting{did_you_mean(name, known)}: it has no effect"
    for name in environment.keys() - in_file.keys():
        if not _is_known(name, known) and any(edits(name.upper(), each, MAX_EDITS) <= MAX_EDITS for each in known):
            yield f"configuration: {name} in the environment is no setting{did_you_mean(name, known)}: it has no effect"


def _is_known(name: str, settings: set[str]) -> bool:
    # Names of settings have no case.
    return name.upper() in settings or name in _OTHERS or name.startswith(_OF_COMPOSE_ITSELF)
