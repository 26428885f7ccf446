"""Tasks as the pages show them: as the API does, with secrets hidden; their times; as a line for a shell."""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import Request

from app.core import drawing
from app.models.bulk import Deed
from app.models.task import ACTIVE, TERMINAL, Task, TaskStatus, WaitingReason
from app.schemas.task import TaskAttemptRead, TaskRead
from app.services.tasks.task_edits import COPIED

_FOR_A_TIME = frozenset({WaitingReason.SCHEDULE, WaitingReason.RETRY})
ROWS = 50  # of the list, on a page
# The states in which a deed does something.
STATES_OF: dict[Deed, list[TaskStatus]] = {
    Deed.CANCEL: sorted(ACTIVE),
    Deed.RETRY: [TaskStatus.FAILED, TaskStatus.REVOKED],
    Deed.DELETE: sorted(TERMINAL),
}


def as_shown(tasks: Iterable[Task | dict[str, Any]]) -> list[TaskRead]:
    """Return the tasks as the API shows them."""
    return [TaskRead.model_validate(task, from_attributes=True) for task in tasks]


def possible_deeds(task: TaskRead) -> set[str]:
    """Return the deeds that are possible in the task's state, and would do something."""
    found = {deed.value for deed, states in STATES_OF.items() if task.status in states}
    if task.status in TERMINAL:
        found.add("change")
    if task.waiting_for and task.waiting_for.reason in _FOR_A_TIME:
        found.add("run-now")
    return found - {"cancel"} if task.cancel_requested_at and task.status in ACTIVE else found


def seconds_of(task: TaskRead, now: datetime | None = None) -> float | None:
    """Return how long the last attempt has run, or ran; None where none began."""
    if task.started_at is None or task.status is TaskStatus.PENDING:
        return None
    return ((task.finished_at or now or datetime.now(UTC)) - task.started_at).total_seconds()


def waited_of(task: TaskRead, now: datetime) -> float | None:
    """Return for how many seconds the task waited for its first attempt, or waits; None where that is not known."""
    due = max(task.created_at, task.run_at or task.created_at)
    if task.status is TaskStatus.PENDING:
        return (now - due).total_seconds() if task.attempt == 0 and due <= now else None
    return (task.started_at - due).total_seconds() if task.started_at and task.attempt == 1 else None


def left_of(task: TaskRead, now: datetime) -> float | None:
    """Return how many seconds are left if the progress goes on as it did; None where nothing tells."""
    ran = seconds_of(task, now)
    if task.status is not TaskStatus.RUNNING or ran is None or not 0 < task.progress < 100:  # noqa: PLR2004 (percent)
        return None
    return ran * (100 - task.progress) / task.progress


# -- How long a task waited and ran, as numbers and as a bar -----------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Seconds: `scheduled` from its creation until it was due, `waited` until its first attempt, or so far.

    `between` is what passed between its attempts, `ran` what they took. The bar begins when it was due, with attempts
    that are left out when the first of the others began.
    """

    begin: datetime
    end: datetime
    scheduled: float
    waited: float
    between: float
    ran: float | None
    bar: Sequence[drawing.Bar]


def times_of(task: TaskRead, attempts: Sequence[TaskAttemptRead], now: datetime) -> Times:
    """Return the times of a task with these attempts, the last ones of them."""
    due = max(task.created_at, task.run_at or task.created_at)
    if attempts and due > attempts[0].started_at:  # of a retry
        due = task.created_at
    if task.finished_at is not None and not attempts:
        due = min(due, task.finished_at)  # it was revoked before its time
    end = task.finished_at or max(now, due)
    started = attempts[0].started_at if attempts else end
    spans = [(str(each.outcome), each.started_at, each.finished_at or end) for each in attempts]
    ran = sum((until - since).total_seconds() for _, since, until in spans)
    reached = max([started, *(until for *_, until in spans)])
    is_whole = not attempts or attempts[0].number == 1
    begin = due if is_whole else started
    return Times(
        begin=begin,
        end=end,
        scheduled=(due - task.created_at).total_seconds(),
        waited=(started - begin).total_seconds(),
        between=max((reached - started).total_seconds() - ran, 0),
        ran=ran if attempts else None,
        bar=drawing.timeline(begin, spans, end),
    )


# -- A task as the line for a shell that creates the same again --------------------------------------------------------


def curl_of(request: Request, task: TaskRead) -> str:
    """Return the line. Values that the service hides are `***` in it, and the token is the shell's `$TOKEN`."""
    fields = task.model_dump(mode="json", include={*COPIED})
    body = json.dumps({name: fields[name] for name in COPIED if fields[name]}, ensure_ascii=False)
    url = f"{request.url.scheme}://{request.url.netloc}/api/v1/tasks/"
    return f'curl --header "Authorization: Bearer $TOKEN" --json {shlex.quote(body)} {shlex.quote(url)}'
