"""Every end of an attempt and of a task is written here, from the table in `app/db/statements/task_moves.py`.

`end_attempt` writes it for the attempt itself, `end_successes` for several that have succeeded, `end_tasks` for all
other code: of the attempts of a worker that is lost, of tasks that wait, from outside. An `Ending` is the cause with
what it needs; the functions below make one each. Nothing here commits.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.error_keys import error_key
from app.db.sql import attempts, transitions
from app.db.statements.task_moves import ENDS, Cause, error_parameters
from app.messaging import hints
from app.services.execution.attempts import AttemptError, NextTry

# What `celery.exceptions` has is billiard's.
SOFT = "billiard.exceptions.SoftTimeLimitExceeded"

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Ending(NamedTuple):
    """Why something ends, the parameters of that cause, and further columns to write."""

    cause: Cause
    parameters: Mapping[str, Any] = _NOTHING
    values: Mapping[str, Any] = _NOTHING


class Success(NamedTuple):
    """An attempt that has succeeded; `result` as its JSON text, None for none; `begun_after` as in `end_attempt`.

    `is_limited`: it has a place to free. `has_children`: others wait for it.
    """

    task_id: UUID
    attempt: int
    result: str | None
    begun_after: float = 0.0
    is_limited: bool = False
    has_children: bool = False


def end_attempt(
    db: attempts.Executor, task_id: UUID, attempt: int, ending: Ending, begun_after: float = 0.0
) -> bool:  # fmt: skip
    """End this attempt. Returns False where it no longer held the task: then nothing was written.

    `begun_after` is how many seconds after its claim the body began, which the end writes to `started_at`. The worker
    calls it on an autocommit connection: one round trip, and another one where a cancellation was requested.
    """
    # A request to cancel is never withdrawn, so the next end matches what the one before excludes.
    return any(
        attempts.end_attempt(db, end, task_id, attempt, begun_after, ending.parameters)
        for end in ENDS[ending.cause]
    )  # fmt: skip


def end_successes(db: attempts.Executor, successes: Sequence[Success]) -> set[UUID]:
    """End several attempts in success, in one statement. Returns the ids of those whose attempt still held them."""
    return attempts.succeed_together(db, [success[:4] for success in successes])


def end_tasks(db: Session | Connection, ending: Ending, *which: ColumnElement[bool]) -> int:
    """End all of these tasks, or their attempts, that the ends of the cause allow. Returns how many.

    One statement for each end, guarded by itself: a task that ends in between matches none of them. Hints are sent
    after the commit.
    """
    ids = [
        task_id
        for end in ENDS[ending.cause]
        for task_id in transitions.move_tasks(
            db,
            end.to,
            *which,
            *end.guard,
            sources=end.sources,
            values={**end.values, **ending.values},
            ended=end.attempt,
            parameters=ending.parameters,
        )
    ]
    hints.changes(db, *ids)
    return len(ids)


def succeeded(result: Any) -> Ending:
    """The body has returned. It wins over a requested cancellation."""
    return Ending(Cause.SUCCEEDED, {"p_result": result})


def failed(error: AttemptError) -> Ending:
    """The body has failed for the last time; `revoked` where a cancellation was requested."""
    key = error_key(error.message) if error.key is None else error.key
    return Ending(Cause.FAILED, {**error_parameters(error[:3]), "p_error_key": key})


def retried(error: AttemptError, following: NextTry) -> Ending:
    """The task is pending until it is due again; `revoked` where a cancellation was requested."""
    later = {"p_delay": following.delay, "p_args": following.args, "p_kwargs": following.kwargs}
    return Ending(Cause.RETRIED, {**error_parameters(error[:3]), **later})


def stopped(reason: str) -> Ending:
    """Its body saw the cancellation, or asked for it: `revoked` with this `status_reason`."""
    return Ending(Cause.STOPPED, {"p_reason": reason})


def handed_back(why: str) -> Ending:
    """The task is pending and due, with nothing counted; `revoked` where a cancellation was requested.

    `why` is for the history of the attempt.
    """
    return Ending(Cause.HANDED_BACK, error_parameters((None, why, None)))


def not_begun() -> Ending:
    """As `handed_back`, of claimed tasks whose bodies were not begun."""
    return Ending(Cause.NOT_BEGUN)


def lost(how: str) -> Ending:
    """The worker is gone: pending again, failed at the crash cap, revoked where that was requested.

    A task with `rerun_lost` off fails at the first loss. `how` says in a few words what became of the process.
    """
    return Ending(Cause.LOST, {"p_max_crashes": get_settings().max_crashes, "p_error_message": how})


def overran(limit: float, *, is_soft: bool = False) -> Ending:
    """The process was killed at the time limit of `limit` seconds: a failure, after which it may be retried.

    `is_soft`: after the soft one, which did not reach its body. The error is called as if it had.
    """
    name, kind = ("soft", SOFT) if is_soft else ("hard", "TimeLimitExceeded")
    message = f"{name} time limit ({limit:g} s) exceeded"
    error = error_parameters((kind, message, None))
    return Ending(Cause.OVERRAN, {**error, "p_error_key": error_key(message)})


def out_of_memory(limit: int | None) -> Ending:
    """The process was killed, since the attempt had taken more than `limit` bytes: the task would do so again."""
    message = (
        f"the task took more memory than TASK_MEMORY_BYTES, {limit} bytes, and its process was killed: "
        "give it less data at once, or have the worker's operator allow more"
    )
    return failed(AttemptError("MemoryLimitExceeded", message))


def expired() -> Ending:
    """A task that waits past its `expires_at`: it never starts."""
    return Ending(Cause.EXPIRED)


def withdrawn(reason: str) -> Ending:
    """A task that waits: it never starts, whatever messages were sent. `reason` is its `status_reason`."""
    return Ending(Cause.WITHDRAWN, {"p_reason": reason})


def set_succeeded(result: Any, values: Mapping[str, Any]) -> Ending:
    """From outside, as the others below: the running attempt is fenced off. `values` are further columns."""
    return Ending(Cause.SET_SUCCEEDED, {"p_result": result}, values)


def set_failed(why: str | None, values: Mapping[str, Any]) -> Ending:
    """`why` is the message of the error. Not where a cancellation was requested."""
    error = error_parameters(("Failed", why, None))
    return Ending(
        Cause.SET_FAILED, {**error, "p_error_key": error_key(why), "p_reason": why or "set from outside"}, values
    )


def set_revoked(why: str | None, values: Mapping[str, Any]) -> Ending:
    """`why` is for the history of the attempt."""
    return Ending(Cause.SET_REVOKED, {"p_reason": why}, values)
