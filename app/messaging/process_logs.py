"""The log lines of workers and beat, in the service's form and with the task that they are about."""

import logging
import warnings
from functools import partial
from typing import Any

from celery import signals
from celery._state import get_current_task
from celery.app import trace
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.utils.log import get_multiprocessing_logger

from app.core import logging as forms
from app.core.config import Settings
from app.messaging.hidden_values import result_repr

# Without Celery's `: %(return_value)s`: a result is its user's, and logs are kept and read elsewhere.
SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
ENDED_WITHOUT_RESULT = "ended without a result: the line before says why"


def install(settings: Settings) -> None:
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
    forms.add_fields(_fields)
    forms.guard(logger, settings)
    forms.guard(get_multiprocessing_logger(), settings)
    forms.log_uncaught_exceptions()
    # At INFO, Alembic tells of its plugins, and a pool of SQLite that it was disposed of.
    for noisy in ("alembic", "sqlalchemy.pool"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


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


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The task that runs here, or the one that a line of Celery's parent process is about."""
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
