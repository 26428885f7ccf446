"""Keeps the secrets among a task's arguments out of what its process logs, out of errors, messages, events and Flower.

An argument is a secret by its name. No line of the process shows it, whatever the body, a library or Celery's own
report of a failure makes of it.
"""

import functools
import inspect
import traceback
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from celery.app.amqp import AMQP
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.saferepr import saferepr

from app.core.redacted_text import known_secrets, redact_text
from app.core.redaction import Parameters, redact, secrets_in


def hide_arguments(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], others: Sequence[str] = ()
) -> None:  # fmt: skip
    """Hide the secrets in these arguments, and `others`, for as long as the task's present request exists.

    Celery lets go of the request after its last line about it.
    """
    secrets = [*parameters_of(task).secrets_in(args), *secrets_in(kwargs), *others]
    if secrets:
        request = task.request
        owner = f"{request.id} {id(request)}"
        known_secrets.hide(owner, secrets)
        weakref.finalize(request, known_secrets.forget, owner).atexit = False


def conceal(error: BaseException) -> BaseException:
    """Return the error as Celery may see it and send it to events and its result backend: itself, where possible.

    Its secrets are taken out in place, so that hooks and `throws` meet what was raised. An exception that builds its
    text from elsewhere is left out of the chain or, if it is the error itself, replaced by a RuntimeError.
    """
    if isinstance(error, Retry):
        error.exc = None if error.exc is None else conceal(error.exc)
        _redact_attributes(error)
    if not known_secrets or isinstance(error, Ignore | Reject | Retry) or not isinstance(error, Exception):
        return error
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        _redact_attributes(following)
        following = following.__cause__ or following.__context__
    if known_secrets.are_in("".join(traceback.format_exception(error))):
        error.__cause__ = error.__context__ = None
    text = "".join(traceback.format_exception_only(error)) + repr(error)
    return RuntimeError(redact_text(f"{type(error).__name__}: {error}")) if known_secrets.are_in(text) else error


def result_repr(result: Any, *limits: Any) -> str:
    """Return a result as Celery's lines and events show it. In place of `saferepr` in `celery.app.trace`."""
    if result is None:  # of most tasks
        return "None"
    # Redacted before it is cut: a part of a secret would not be recognised.
    return redact_text(saferepr(_redacted(redact(result)), *limits))


def _redact_attributes(error: BaseException) -> None:
    shown = _redacted(error.args)
    if shown != error.args:
        error.args = shown
    for name, value in list(vars(error).items()):
        if known_secrets.are_in(repr(value)):
            error.__dict__[name] = _redacted(value)


def _redacted(part: Any) -> Any:
    if isinstance(part, str):
        return known_secrets.redact(part)
    if isinstance(part, list | tuple):
        return type(part)([_redacted(each) for each in part]) if type(part) in {list, tuple} else part
    return {key: _redacted(value) for key, value in part.items()} if type(part) is dict else part


# -- What messages, events and Flower show of a plain `.delay(…)`'s arguments. Messages of records have none -----------


class RedactedAMQP(AMQP):
    """`amqp` of the application."""

    def as_task_v2(
        self, task_id: str, name: str, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
    ) -> Any:
        """Make the message as Celery does, with the representations made here."""
        levels = self.app.conf.task_repr_maxlevels
        if options.get("argsrepr") is None:
            shown = redact_args_of(self.app.tasks.get(name), args or ())
            options["argsrepr"] = saferepr(shown, self.argsrepr_maxsize, maxlevels=levels)
        if options.get("kwargsrepr") is None:
            options["kwargsrepr"] = saferepr(redact(kwargs or {}), self.kwargsrepr_maxsize, maxlevels=levels)
        return super().as_task_v2(task_id, name, args, kwargs, *more, **options)


def redact_args_of(task: Any, args: Any) -> Any:
    """Return positional arguments without those of a parameter named like a secret; a tuple stays one."""
    if not isinstance(args, list | tuple):
        return redact(args)
    shown = parameters_of(task).redact(args) if task is not None else redact(list(args))
    return tuple(shown) if isinstance(args, tuple) else shown


@functools.cache
def parameters_of(task: Any) -> Parameters:
    """Return the names of the body's positional parameters, as a caller sees them."""
    return Parameters.of(inspect.signature(task.run))
