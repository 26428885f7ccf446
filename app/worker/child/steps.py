"""The steps of one attempt: each function runs once in all attempts of a task, and its result is kept.

A step is committed when its function has returned, fenced by the attempt. A later attempt gets the result. Between the
return and the commit a killed process loses the result: the function runs again.
"""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from app.core.json_text import dump_json
from app.db.sql import attached_rows as statements, attempts
from app.db.statements.task_moves import Cancellation
from app.ddl.terms import STEP_BYTES
from app.errors import AttemptLost, StepRepeated, TaskCancelled
from app.models.task import SEQ_BITS
from app.services.execution.attempts import check_name, to_json

T = TypeVar("T")
Deliver = Callable[[Callable[[attempts.Executor], T]], T]


class Kept(Protocol):
    """The steps of a task, as one attempt of it reads and writes them."""

    def names(self) -> set[str]:
        """Return the names of all."""

    def result(self, name: str) -> Any:
        """Return the result of one that is there."""

    def write(self, step: statements.Step) -> Cancellation:
        """Keep one. Returns when a cancellation was requested, None where the attempt no longer holds the task."""


class KeptRows(NamedTuple):
    """In the database. `deliver` runs a function on a connection, until the database answers."""

    task_id: UUID
    attempt: int
    deliver: Deliver[Any]

    def names(self) -> set[str]:
        found: set[str] = self.deliver(lambda db: statements.step_names(db, self.task_id))
        return found

    def result(self, name: str) -> Any:
        return self.deliver(lambda db: statements.step_result(db, self.task_id, name))

    def write(self, step: statements.Step) -> Cancellation:
        found: Cancellation = self.deliver(lambda db: statements.write_step(db, self.task_id, self.attempt, step))
        return found


class Steps:
    """Of one attempt. `fault` is set once the body has named two alike: the attempt fails, whatever the body does."""

    def __init__(self, attempt: int, kept: Kept) -> None:
        self._kept = kept
        # Those of earlier attempts, of which a first one has none, and those that this attempt has named.
        self._earlier: set[str] | None = set() if attempt == 1 else None
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
            return self._kept.result(name)
        started = time.monotonic()
        return self._keep(name, function(*args, **kwargs), started)

    async def _run_async(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, is_kept: bool
    ) -> Any:
        if is_kept:
            return self._kept.result(name)
        started = time.monotonic()
        return self._keep(name, await function(*args, **kwargs), started)

    def _begin(self, name: str) -> bool:
        """Return whether an earlier attempt has done it."""
        check_name(name, "step")
        if name in self._named:
            self.fault = StepRepeated(f"two steps of this task have the name {name!r}: give each its own")
            raise self.fault
        self._named.add(name)
        if self._earlier is None:
            self._earlier = self._kept.names()
        return name in self._earlier

    def _keep(self, name: str, value: Any, started: float) -> Any:
        plain = to_json(value, "result of a step")
        text = None if plain is None else dump_json(plain)
        size = STEP_BYTES + len(name.encode()) + len(text or "")
        self._number += 1
        cancellation = self._kept.write(statements.Step(self._number, name, time.monotonic() - started, text, size))
        if cancellation is None:
            raise AttemptLost("the attempt no longer holds its task")
        if cancellation[0] is not None:
            raise TaskCancelled
        return plain


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a call of it is awaited, also of an object whose class says so."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
