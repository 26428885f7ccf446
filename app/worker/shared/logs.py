"""The log lines of Celery's processes: in our form, with the task that they are about; `-l` and `-f` as ever.

What a running task's arguments hold under the name of a secret appears in no line of its process, whatever the body,
a library or Celery's own report of a failure makes of it.
"""

import logging
import traceback
import warnings
from collections.abc import Iterable
from typing import Any

from celery import current_task, signals
from celery.app import trace
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_multiprocessing_logger
from celery.utils.saferepr import saferepr

from app.core import logging as forms
from app.core.config import get_settings
from app.core.redacted_text import known_secrets, redact_text
from app.core.redaction import redact


def install() -> None:
    signals.celeryd_init.connect(_speak_in_events, weak=False)
    signals.after_setup_logger.connect(_on_setup, weak=False)
    signals.after_setup_task_logger.connect(_on_task_setup, weak=False)
    signals.task_postrun.connect(forget, weak=False)
    # How a result looks in the line and in the event that tell of it; Celery asks nobody else about it.
    trace.saferepr = _result_shown


def hide(request: Any, secrets: Iterable[str]) -> None:
    """Until Celery has said its last word about this request."""
    known_secrets.hide(str(request.id), secrets)


def conceal(error: BaseException) -> BaseException:
    """What Celery may be told of it, which sends it on, to events and to its result backend: the error, where possible.

    Its secrets are taken out in place, so that hooks and `throws` meet what was raised. An exception that builds its
    text from elsewhere is left out of the chain, or, if it is the error itself, told by another one.
    """
    if isinstance(error, Retry):
        error.exc = None if error.exc is None else conceal(error.exc)
        _take_out(error)
    if not known_secrets or isinstance(error, Ignore | Reject | Retry) or not isinstance(error, Exception):
        return error
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        _take_out(following)
        following = following.__cause__ or following.__context__
    if known_secrets.are_in("".join(traceback.format_exception(error))):
        error.__cause__ = error.__context__ = None
    text = "".join(traceback.format_exception_only(error)) + repr(error)
    return RuntimeError(redact_text(f"{type(error).__name__}: {error}")) if known_secrets.are_in(text) else error


def _take_out(error: BaseException) -> None:
    shown = _shown(error.args)
    if shown != error.args:
        error.args = shown
    for name, value in list(vars(error).items()):
        if known_secrets.are_in(repr(value)):
            error.__dict__[name] = _shown(value)


def _shown(part: Any) -> Any:
    if isinstance(part, str):
        return known_secrets.redact(part)
    if isinstance(part, list | tuple):
        return type(part)([_shown(each) for each in part]) if type(part) in {list, tuple} else part
    return {key: _shown(value) for key, value in part.items()} if type(part) is dict else part


def _result_shown(result: Any, *limits: Any) -> str:
    # Before it is cut: half a secret would not be told from the rest.
    return redact_text(saferepr(_shown(redact(result)), *limits))


def forget(task_id: str, **_: Any) -> None:
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


def _speak_in_events(instance: Any, **_: Any) -> None:
    """What Celery says to people, past all logging: the banner, warnings before the start, «Warm shutdown»."""
    if get_settings().logs_json:
        from celery.apps import worker as program

        instance.quiet = True
        program.safe_say = lambda message, *_: forms.say(message)
        warnings.showwarning = lambda message, kind, *_: forms.say(f"{kind.__name__}: {message}", logging.WARNING)


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
