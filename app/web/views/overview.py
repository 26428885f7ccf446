"""The first page: whether the service is well, what happened in a period, what fails, and what runs longest.

First comes what is not well: the page begins with a sentence about it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.core import drawing
from app.models.error_group import ErrorState
from app.models.task_filter import TaskFilter
from app.models.worker import WorkerState
from app.services.operations import error_group_service, queue_service, stats_service, worker_service
from app.services.operations.error_group_service import ErrorFilter
from app.services.operations.queue_service import QueueState
from app.services.operations.stats_service import Stats, StatsWindow
from app.services.operations.worker_service import WorkerInfo
from app.services.task_service import task_service
from app.services.webhooks.service import webhook_service
from app.web.access import PageUser
from app.web.responses import NavigationEntry, page
from app.web.shown_tasks import as_shown
from app.web.views.webhooks import endpoint_health, receiver_name

# Seconds after which a task that could start has waited long.
LONG_WAIT = 60
# Seconds after which a lost worker is no news any more.
LOST_LONG = 600


@dataclass(frozen=True)
class Trouble:
    """One of `no_workers`, `no_worker`, `lost`, `failed`, `endpoint`, `paused`, `waits`. `path` shows more of it."""

    kind: str
    path: str
    name: str = ""
    number: int = 0
    seconds: float = 0
    since: datetime | None = None


def troubles(
    failures: tuple[int, datetime],
    queues: Sequence[QueueState],
    workers: Sequence[WorkerInfo],
    now: datetime,
    endpoints: Sequence[tuple[UUID, str]] = (),
) -> list[Trouble]:
    """Return what is not well, the worst first: nothing for a service that is well.

    `failures` are those that count, and since when. `queues` are those whose state matters to the reader. `workers` is
    empty for readers who may not see them. `endpoints`: id and name of the reader's webhooks that get nothing.
    """
    number, since = failures
    found = [each for queue in queues if (each := _of_queue(queue))]
    if queues and not any(queue.workers for queue in queues):
        found = [Trouble("no_workers", "/queues"), *(each for each in found if each.kind != "no_worker")]
    lost = [worker.name for worker in workers if worker.state is WorkerState.LOST and _matters(worker, now)]
    return [
        *(each for each in found if each.kind.startswith("no_worker")),
        *(Trouble("lost", f"/workers/{quote(name, safe='')}", name) for name in lost),
        *([Trouble("failed", "/errors", number=number, since=since)] if number else []),
        *(Trouble("endpoint", f"/webhooks/{endpoint_id}", name) for endpoint_id, name in endpoints),
        *(each for each in found if not each.kind.startswith("no_worker")),
    ]


def queues_of_user(queues: Sequence[QueueState], due: Mapping[str, int]) -> list[QueueState]:
    """Return the queues in which a user has tasks that are due, with those alone: `due` are their numbers."""
    own = [(queue, due.get(queue.name, 0)) for queue in queues]
    # In a paused queue they are blocked, in another one they can start.
    return [replace(queue, startable=number, blocked=number) for queue, number in own if number]


def _of_queue(queue: QueueState) -> Trouble | None:
    """Return why the tasks of a queue do not start. A queue without tasks that are due has no trouble."""
    path = f"/queues/{quote(queue.name, safe='')}"
    number = queue.blocked if queue.paused else queue.startable
    if not number:
        return None
    if queue.paused:
        return Trouble("paused", path, queue.name, number)
    if queue.workers == 0:
        return Trouble("no_worker", path, queue.name, number)
    waited = queue.oldest_startable_seconds or 0
    is_full = queue.slots_used >= queue.slots  # else they start in this moment
    return Trouble("waits", path, queue.name, number, waited) if is_full and waited > LONG_WAIT else None


def _matters(worker: WorkerInfo, now: datetime) -> bool:
    """Return whether a lost worker still holds tasks, or has been lost for a short time."""
    return bool(worker.running) or (now - worker.last_heartbeat_at).total_seconds() < LOST_LONG


def longest_wait(queues: Sequence[QueueState]) -> float:
    """Return for how many seconds the oldest task that could start has waited."""
    return max((queue.oldest_startable_seconds or 0.0 for queue in queues), default=0.0)


def used_slots(workers: Sequence[WorkerInfo]) -> tuple[int, int, int]:
    """Return how many workers live, how many slots of them are used, and how many they have."""
    living = [worker for worker in workers if worker.state is not WorkerState.LOST]
    return len(living), sum(len(worker.running) for worker in living), sum(worker.concurrency for worker in living)


# -- The page, and a second one with the same numbers as a table for whoever reads no pictures -------------------------

router = SlashRouter()
NAVIGATION = (NavigationEntry(1, "/", "Overview"),)

LONGEST, GROUPS = 10, 5
ENDS = ("succeeded", "failed", "revoked")
DURATIONS = ("wait_seconds", "run_seconds")
DRAWN = ("p50", "p95")
Window = Annotated[StatsWindow, Query()]
# There are no numbers of a week before yesterday.
_WITH_YESTERDAY = frozenset({StatsWindow.HOUR, StatsWindow.DAY})


@router.get("/")
@costly(lambda _: True)
def overview(request: Request, db: SessionDep, user: PageUser, window: Window = StatsWindow.HOUR) -> Response:
    stats = stats_service.get_stats(db, user.owner, window=window)
    before = window in _WITH_YESTERDAY
    yesterday = stats_service.durations_a_day_before(db, user.owner, window=window) if before else None
    queues = queue_service.list_queues(db, to_admin=user.is_admin)
    workers = worker_service.list_workers(db) if user.is_admin else []
    counts = task_service.show_counts(db, TaskFilter(user_id=user.owner))
    # What keeps the tasks of others from starting is no trouble of a user's.
    of_queues = queues if user.is_admin else queues_of_user(queues, queue_service.due_of_user(db, user.id))
    endpoints = [each for each in webhook_service.list_endpoints(db, user.id) if endpoint_health(each).is_trouble]
    deepest = max((queue.startable + queue.running for queue in queues), default=0)
    values = {
        "troubles": troubles(
            error_group_service.recent_failures(db, user.owner),
            of_queues,
            workers,
            datetime.now(UTC),
            [(each.id, receiver_name(each.url)) for each in endpoints],
        ),
        "slots": used_slots(workers),
        "counts": counts,
        "queues": [
            (each, drawing.row({"running": each.running, "startable": each.startable}, deepest)) for each in queues
        ],
        "startable": sum(each.startable for each in queues),
        "oldest": longest_wait(queues),
        "longest": as_shown(task_service.longest_running(db, LONGEST, owner=user.owner)),
        "groups": error_group_service.list_error_groups(
            db, ErrorFilter(user_id=user.owner, state=ErrorState.OPEN), GROUPS
        ).items,
        "yesterday": yesterday,
        "address": f"{request.url.scheme}://{request.url.netloc}",
        **_numbers(stats, window),
        **_pictures(stats),
    }
    return page(request, "overview.html", values)


@router.get("/numbers")
@costly(lambda _: True)
def numbers(request: Request, db: SessionDep, user: PageUser, window: Window = StatsWindow.HOUR) -> Response:
    """Show the numbers behind the charts."""
    stats = stats_service.get_stats(db, user.owner, window=window)
    by_step = zip(*_of_all_kinds(stats, ("submitted", *ENDS)).values(), strict=True)
    durations = zip(*(stats.over_time[name][percent] for name in DURATIONS for percent in DRAWN), strict=True)
    step = timedelta(seconds=stats.step_seconds)
    rows = [(stats.from_ + step * at, *row) for at, row in enumerate(zip(by_step, durations, strict=True))]
    return page(request, "numbers.html", {"rows": rows[::-1], **_numbers(stats, window)})


def _numbers(stats: Stats, window: StatsWindow) -> dict[str, Any]:
    of_kinds = _of_all_kinds(stats, ("submitted", *ENDS))
    return {
        "stats": stats,
        "totals": {kind: sum(of_kind) for kind, of_kind in of_kinds.items()},
        "window": window.value,
        "windows": [each.value for each in StatsWindow],
    }


def _of_all_kinds(stats: Stats, names: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers of each step, of all kinds of tasks together."""
    empty = [0] * len(stats.over_time[DURATIONS[0]][DRAWN[0]])
    return {
        name: [sum(each) for each in zip(empty, *(getattr(series, name) for series in stats.series), strict=True)]
        for name in names
    }


def _pictures(stats: Stats) -> dict[str, Any]:
    ends, submitted = _of_all_kinds(stats, ENDS), _of_all_kinds(stats, ("submitted",))
    begin, step = stats.from_, stats.step_seconds
    durations = {
        name: drawing.chart(
            begin, step, lines={percent: stats.over_time[name][percent] for percent in DRAWN}, unit="seconds"
        )
        for name in DURATIONS
    }
    return {"ends": drawing.chart(begin, step, stacked=ends, lines=submitted), "durations": durations}
