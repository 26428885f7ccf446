"""What messages, events and Flower show of a plain `.delay(…)`'s arguments. Messages of records carry none."""

import functools
import inspect
from typing import Any

from celery.app.amqp import AMQP
from celery.utils.saferepr import saferepr

from app.core.redaction import Parameters, redact


class RedactedAMQP(AMQP):
    """`amqp` of the application."""

    def as_task_v2(
        self, task_id: str, name: str, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
    ) -> Any:
        """Celery's, with the representations made here rather than there."""
        levels = self.app.conf.task_repr_maxlevels
        if options.get("argsrepr") is None:
            shown = redact_args(self.app.tasks.get(name), args or ())
            options["argsrepr"] = saferepr(shown, self.argsrepr_maxsize, maxlevels=levels)
        if options.get("kwargsrepr") is None:
            options["kwargsrepr"] = saferepr(redact(kwargs or {}), self.kwargsrepr_maxsize, maxlevels=levels)
        return super().as_task_v2(task_id, name, args, kwargs, *more, **options)


def redact_args(task: Any, args: Any) -> Any:
    """Positional arguments without those that go to a parameter named like a secret; a tuple stays one."""
    if not isinstance(args, list | tuple):
        return redact(args)
    shown = parameters_of(task).redact(args) if task is not None else redact(list(args))
    return tuple(shown) if isinstance(args, tuple) else shown


@functools.cache
def parameters_of(task: Any) -> Parameters:
    """Of the body, as a caller sees it."""
    return Parameters.of(inspect.signature(task.run))
