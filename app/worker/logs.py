"""The log lines of Celery's processes: in our form, with the task that they are about; `-l` and `-f` as ever.

What a running task's arguments hold under the name of a secret appears in no line of its process, whatever the body,
a library or Celery's own report of a failure makes of it.
"""

import logging
from collections.abc import Iterable
from typing import Any

from celery import current_task, signals
from celery.utils.log import get_multiprocessing_logger

from app.core import logging as forms
from app.core.config import get_settings
from app.core.redacted_text import known_secrets


def install() -> None:
    signals.celeryd_init.connect(_drop_the_banner, weak=False)
    signals.after_setup_logger.connect(_on_setup, weak=False)
    signals.after_setup_task_logger.connect(_on_task_setup, weak=False)
    signals.task_postrun.connect(_forget, weak=False)


def hide(request: Any, secrets: Iterable[str]) -> None:
    """Until Celery has said its last word about this request."""
    known_secrets.hide(str(request.id), secrets)


def conceal(error: BaseException) -> None:
    """Take the secrets out of what the exceptions say: Celery sends it on, to events and to its result backend.

    In place, so that hooks and `throws` meet the error that was raised.
    """
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        shown = tuple(_shown(each) for each in following.args)
        if shown != following.args:
            following.args = shown
        following = following.__cause__ or following.__context__


def _shown(part: Any) -> Any:
    return known_secrets.redact(part) if isinstance(part, str) else part


def _forget(task_id: str, **_: Any) -> None:
    known_secrets.forget(task_id)


def _on_setup(logger: logging.Logger, **_: Any) -> None:
    forms.add_fields(_fields)
    forms.guard(logger)
    forms.guard(get_multiprocessing_logger())
    forms.catch_the_uncaught()
    # Of its parts the setting up of its plugins alone would be news at this level.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _on_task_setup(logger: logging.Logger, **_: Any) -> None:
    forms.guard(logger)


def _drop_the_banner(instance: Any, **_: Any) -> None:
    if get_settings().logs_json:
        instance.quiet = True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The task that runs here, or the one that Celery's parent process speaks of."""
    fields: dict[str, Any] = {"process": record.processName}
    request = current_task.request if current_task else None
    if request is None or request.id is None:
        spoken_of = getattr(record, "data", None)
        if isinstance(spoken_of, dict) and "id" in spoken_of:
            fields |= {"task": spoken_of.get("name"), "celery_id": spoken_of["id"]}
        return fields
    fields |= {"task": current_task.name, "celery_id": request.id}
    run = request.get("attempt_run")
    return fields if run is None else fields | {"task_id": str(run.task_id), "attempt": run.claim.attempt}
