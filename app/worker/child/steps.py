"""The steps of one attempt: each function runs once in all attempts of a task, and its result is kept.

A step is committed when its function has returned, fenced by the attempt. A later attempt gets the result. Between the
return and the commit a killed process loses the result: the function runs again.
"""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from app.core.json_text import dump_json
from app.db.sql import attempts, task_steps
from app.ddl.columns import ShortText
from app.ddl.sizes import STEP_BYTES
from app.errors import AttemptLost, StepRepeated, TaskCancelled
from app.models.task_log import SEQ_BITS
from app.services.execution.results import to_json

T = TypeVar("T")
Deliver = Callable[[Callable[[attempts.Executor], T]], T]
MOST_CHARACTERS = ShortText.characters


class Steps:
    """Of one attempt. `deliver` runs a function on a connection, until the database answers.

    `fault` is set once the body has named a step twice: its attempt fails, whatever the body does then.
    """

    def __init__(self, task_id: UUID, attempt: int, deliver: Deliver[Any]) -> None:
        self._task_id, self._attempt, self._deliver = task_id, attempt, deliver
        # Those that are kept, and those that this attempt has named. Of a first attempt, nothing can be kept.
        self._kept: set[str] | None = set() if attempt == 1 else None
        self._named = set[str]()
        self._number = attempt << SEQ_BITS
        self.fault: StepRepeated | None = None

    def run(self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the function's result as JSON, of this attempt or of an earlier one; an awaitable of it where async.

        Raises StepRepeated, TaskCancelled, AttemptLost, ResultTooLarge; TypeError or ValueError for a name that is no
        text of 1 to 200 characters or a result that is not JSON; and what the function raises.
        """
        is_kept = self._begin(name)
        if is_async(function):
            return self._run_async(name, function, args, kwargs, is_kept=is_kept)
        if is_kept:
            return self._read(name)
        started = time.monotonic()
        return self._keep(name, function(*args, **kwargs), started)

    async def _run_async(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, is_kept: bool
    ) -> Any:
        if is_kept:
            return self._read(name)
        started = time.monotonic()
        return self._keep(name, await function(*args, **kwargs), started)

    def _begin(self, name: str) -> bool:
        """Whether an earlier attempt has done it."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a step is a text, not {type(name).__name__}")
        if not 0 < len(name) <= MOST_CHARACTERS or "\0" in name:
            raise ValueError(f"the name of a step has 1 to {MOST_CHARACTERS} characters, none of them NUL")
        name.encode()
        if name in self._named:
            self.fault = StepRepeated(f"two steps of this task have the name {name!r}: give each its own")
            raise self.fault
        self._named.add(name)
        if self._kept is None:
            self._kept = self._deliver(lambda db: task_steps.names_of(db, self._task_id))
        return name in self._kept

    def _read(self, name: str) -> Any:
        return self._deliver(lambda db: task_steps.result_of(db, self._task_id, name))

    def _keep(self, name: str, value: Any, started: float) -> Any:
        plain = to_json(value, "result of a step")
        text = None if plain is None else dump_json(plain)
        size = STEP_BYTES + len(name.encode()) + len(text or "")
        self._number += 1
        step = task_steps.Step(self._number, name, time.monotonic() - started, text, size)
        cancellation = self._deliver(lambda db: task_steps.write(db, self._task_id, self._attempt, step))
        if cancellation is None:
            raise AttemptLost(f"attempt {self._attempt} of task {self._task_id} no longer holds it")
        if cancellation[0] is not None:
            raise TaskCancelled
        return plain


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of it is awaited, also of an object whose class says so."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
