"""Celery's loader: what a worker and beat do before their own start, and the import of the task modules."""

from typing import Any

from celery import signals
from celery.loaders.app import AppLoader
from kombu.utils.imports import symbol_by_name

from app.core.config import ConfigurationError, Settings, get_settings
from app.db.schema_version import await_schema
from app.messaging import process_logs

BESIDE_BEAT = "app.beat.process:start"


class Loader(AppLoader):
    """`loader` of the application."""

    def init_worker(self) -> None:
        """Runs first in a worker and in beat; waits for a database that is not migrated.

        Ends the process with a line for each setting that is wrong.
        """
        try:
            settings = _checked_settings()
            await_schema(settings)
            super().init_worker()
        except ConfigurationError as error:
            raise SystemExit(str(error)) from None

    def on_worker_init(self) -> None:
        """Runs in a worker and in beat, once the task modules are imported."""
        process_logs.install(get_settings())
        signals.beat_init.connect(self._on_beat_init, weak=False)

    def _on_beat_init(self, **_: Any) -> None:
        symbol_by_name(BESIDE_BEAT)()

    def import_task_module(self, module: str) -> Any:
        """In the API as well, whose catalogue needs the tasks. Raises ConfigurationError for one of TASK_MODULES."""
        try:
            return super().import_task_module(module)
        except ImportError as error:
            if module not in get_settings().task_modules:
                raise
            raise ConfigurationError(
                f"TASK_MODULES names {module}, which cannot be imported: {error} (is its folder on PYTHONPATH?)"
            ) from error


def _checked_settings() -> Settings:
    """Without a broker's URL Celery would look for RabbitMQ on this machine, without end."""
    settings = get_settings()
    needed = {"DATABASE_URL": settings.database_url, "CELERY_BROKER_URL": settings.celery_broker_url}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        advice = "put it in .env, or start everything with `python3 run_server.py`"
        raise ConfigurationError(f"{' and '.join(missing)} not set: {advice}")
    return settings
