"""Celery's loader: what a worker and beat do before their own start, their log, and the import of the task modules."""

import contextlib
import logging
import warnings
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from celery import signals
from celery._state import get_current_task
from celery.app import trace
from celery.exceptions import CPendingDeprecationWarning
from celery.loaders.app import AppLoader
from celery.platforms import SecurityWarning
from celery.utils.log import get_multiprocessing_logger
from kombu.utils.imports import symbol_by_name

from app.core import logging as forms
from app.core.config import ConfigurationError, Settings, get_settings
from app.core.process_start import paused_collector, place_of
from app.db.compatibility import await_schema
from app.db.outage import first_line
from app.db.session import dispose_engine
from app.messaging.hidden_values import result_repr

logger = logging.getLogger(__name__)

BESIDE_BEAT = "app.beat.scheduler:start_beside_beat"


@dataclass(frozen=True)
class Finding:
    """Tasks that are left out. `reason` says why and what to do, `place` is the file and line."""

    what: str
    reason: str
    place: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason} ({self.place})"


class Loader(AppLoader):
    """`loader` of the application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.findings: list[Finding] = []

    def init_worker(self) -> None:
        """Runs first in a worker and in beat; waits for a database that is not migrated.

        Ends the process with a line for each setting that is wrong.
        """
        try:
            settings = _checked_settings()
            await_schema(settings)
            dispose_engine()  # worker and beat set a time after which the server ends idle transactions
            with paused_collector():
                super().init_worker()
        except ConfigurationError as error:
            raise SystemExit(str(error)) from None

    def on_worker_init(self) -> None:
        """Runs in a worker and in beat, once the task modules are imported."""
        install_logs(get_settings())
        signals.beat_init.connect(self._on_beat_init, weak=False)

    def _on_beat_init(self, sender: Any, **_: Any) -> None:
        symbol_by_name(BESIDE_BEAT)(sender)

    def import_task_module(self, module: str) -> Any:
        """Import a module of tasks, in the API as well, whose catalogue needs them.

        A module that raises an error, or calls `sys.exit()`, is left out, with a line of the log: everything else goes
        on.
        """
        try:
            return super().import_task_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a user's module raises what it likes)
            # Those above the error: what their bodies use may be below it.
            for name in [name for name, task in self.app.tasks.items() if task.__module__ == module]:
                self.app.tasks.unregister(name)
            rest = " and those of the modules that it imports from there on" if module == "app.tasks" else ""
            finding = Finding(
                f"module {module} cannot be imported, its tasks{rest} are left out", *_described(error, module)
            )
            if finding not in self.findings:
                self.findings.append(finding)
                logger.error("%s", finding)  # noqa: TRY400 (one line, which names the place)
            return None


def check_task_modules(settings: Settings) -> None:
    """Raise ConfigurationError for a module of TASK_MODULES that does not exist. Imports none, but for its package."""
    if missing := missing_task_modules(settings):
        raise ConfigurationError(
            f"TASK_MODULES names {missing[0]}, which does not exist: write it with dots, and have "
            "the folder above it on PYTHONPATH, in the environment (`.env` is too late for that)"
        )


def missing_task_modules(settings: Settings) -> list[str]:
    """Return the modules of TASK_MODULES that do not exist. Imports none, but for its package."""
    return [module for module in settings.task_modules if not _exists(module)]


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError as error:
        return not f"{module}.".startswith(f"{error.name}.")
    except (Exception, SystemExit):  # noqa: BLE001 (its package raises an error: the import of the module will tell it)
        return True


def _described(error: BaseException, module: str) -> tuple[str, str]:
    """Return the error of a module's import in one line, and the file and line where it was raised."""
    said = error.msg if isinstance(error, SyntaxError) else first_line(error)
    file = None
    if isinstance(error, SyntaxError) and not error.filename:  # a null byte: Python names no file
        for name in (module.partition(".")[0], module):
            with contextlib.suppress(SyntaxError):  # that of its package
                file = getattr(find_spec(name), "origin", None)
    return f"{type(error).__name__}: {said}", place_of(error, file)


def _checked_settings() -> Settings:
    """Return the settings. Without a broker's URL, Celery would seek RabbitMQ on this machine without end."""
    settings = get_settings()
    needed = {"DATABASE_URL": settings.database_url, "CELERY_BROKER_URL": settings.celery_broker_url}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        advice = "put it in .env, or start everything with `python3 run_server.py`"
        raise ConfigurationError(f"{' and '.join(missing)} not set: {advice}")
    check_task_modules(settings)
    return settings


# -- The log lines of workers and beat, in the service's form and with the task that they are about --------------------

# Without Celery's `: %(return_value)s`: a result is its user's, and logs are kept and read elsewhere.
SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
ENDED_WITHOUT_RESULT = "ended without a result: the line before says why"


def install_logs(settings: Settings) -> None:
    """Have Celery's log lines of this process take the service's form. Its worker calls the receivers as it starts."""
    signals.celeryd_init.connect(partial(_replace_prints, settings), weak=False)
    signals.after_setup_logger.connect(partial(_on_setup, settings), weak=False)
    signals.after_setup_task_logger.connect(lambda logger, **_: forms.guard(logger, settings), weak=False)
    # Celery has no setting for how the result looks in the event of a success, and for the line that shows it.
    trace.saferepr = result_repr
    trace.LOG_SUCCESS = SUCCEEDED
    # Celery says «ignored» of each attempt that was cancelled, handed back or lost.
    trace.log_policy_ignore = trace.log_policy_ignore._replace(description=ENDED_WITHOUT_RESULT)


def _on_setup(settings: Settings, logger: logging.Logger, **_: Any) -> None:
    forms.add_fields(_log_fields)
    forms.guard(logger, settings)
    forms.guard(get_multiprocessing_logger(), settings)
    forms.log_uncaught_exceptions()
    forms.quiet_libraries()


def _replace_prints(settings: Settings, instance: Any, **_: Any) -> None:
    """Handle what Celery prints without a logger: banner, early warnings, «Warm shutdown»."""
    if instance.quiet:
        # Celery warns root of pickled messages, which run code; this service accepts only JSON. And at each lost
        # connection of a change in Celery 6, whose setting is made here.
        warnings.simplefilter("ignore", SecurityWarning)
        warnings.simplefilter("ignore", CPendingDeprecationWarning)
    if settings.logs_json:
        from celery.apps import worker as program

        instance.quiet = True
        program.safe_say = lambda message, *_: forms.write_event(message, settings)
        warnings.showwarning = partial(_write_warning, settings)


def _write_warning(settings: Settings, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    forms.write_event(f"{category.__name__}: {message}", settings, logging.WARNING)


def _log_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the task that runs here, or the one that a line of Celery's parent process is about."""
    fields: dict[str, Any] = {"process": record.processName}
    task = get_current_task()
    request = None if task is None else task.request
    if task is None or request is None or request.id is None:
        about = getattr(record, "data", None)
        if isinstance(about, dict) and "id" in about:
            fields |= {"task": about.get("name"), "celery_id": about["id"]}
        return fields
    fields |= {"task": task.name, "celery_id": request.id}
    run = request.get("attempt_run")
    return fields if run is None else fields | {"task_id": str(run.task_id), "attempt": run.claim.attempt}
