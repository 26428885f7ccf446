"""How long a task waited and ran, as numbers and as a bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.schemas.task import TaskAttemptRead, TaskRead
from app.web import charts


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
    bar: Sequence[charts.Bar]


def times_of(task: TaskRead, attempts: Sequence[TaskAttemptRead], now: datetime) -> Times:
    """Return the times of a task with these attempts, the last ones of them."""
    due = max(task.created_at, task.run_at or task.created_at)
    if attempts and due > attempts[0].started_at:  # of a retry
        due = task.created_at
    if task.finished_at is not None and not attempts:
        due = min(due, task.finished_at)  # it was revoked before its time
    end = task.finished_at or max(now, due)
    started = attempts[0].started_at if attempts else end
    spans = [(each.outcome.value, each.started_at, each.finished_at or end) for each in attempts]
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
        bar=charts.timeline(begin, spans, end),
    )
