"""The first page: whether the service is well, what happened in a period, what fails, and what runs longest.

And the same numbers as a table, for whoever reads no pictures.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.models.error_group import ErrorState
from app.models.task_filter import TaskFilter
from app.services.operations import error_group_service, queue_service, stats_service, worker_service
from app.services.operations.error_group_service import ErrorFilter
from app.services.operations.stats_service import Stats, StatsWindow
from app.services.task_service import task_service
from app.services.webhook_service import webhook_service
from app.web import charts
from app.web.access import PageUser
from app.web.responses import NavigationEntry, page
from app.web.shown_tasks import shown
from app.web.shown_webhooks import health_of, name_of
from app.web.troubles import longest_wait, queues_of_user, troubles, used_slots

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
    endpoints = [each for each in webhook_service.list_endpoints(db, user.id) if health_of(each).is_trouble]
    deepest = max((queue.ready + queue.running for queue in queues), default=0)
    values = {
        "troubles": troubles(
            error_group_service.recent_failures(db, user.owner),
            of_queues,
            workers,
            datetime.now(UTC),
            [(each.id, name_of(each.url)) for each in endpoints],
        ),
        "slots": used_slots(workers),
        "counts": counts,
        "queues": [(each, charts.row({"running": each.running, "ready": each.ready}, deepest)) for each in queues],
        "ready": sum(each.ready for each in queues),
        "oldest": longest_wait(queues),
        "longest": shown(task_service.longest_running(db, LONGEST, owner=user.owner)),
        "groups": error_group_service.list_error_groups(db, ErrorFilter(user.owner, ErrorState.OPEN), GROUPS).items,
        "yesterday": yesterday,
        "address": f"{request.url.scheme}://{request.url.netloc}",
        **_numbers(stats, window),
        **_pictures(stats),
    }
    return page(request, "overview.html", values)


@router.get("/numbers")
@costly(lambda _: True)
def numbers(request: Request, db: SessionDep, user: PageUser, window: Window = StatsWindow.HOUR) -> Response:
    """The numbers behind the charts."""
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
    """The numbers of each step, of all kinds of tasks together."""
    empty = [0] * len(stats.over_time[DURATIONS[0]][DRAWN[0]])
    return {
        name: [sum(each) for each in zip(empty, *(getattr(series, name) for series in stats.series), strict=True)]
        for name in names
    }


def _pictures(stats: Stats) -> dict[str, Any]:
    ends, submitted = _of_all_kinds(stats, ENDS), _of_all_kinds(stats, ("submitted",))
    begin, step = stats.from_, stats.step_seconds
    durations = {
        name: charts.chart(
            begin, step, lines={percent: stats.over_time[name][percent] for percent in DRAWN}, unit="seconds"
        )
        for name in DURATIONS
    }
    return {"ends": charts.chart(begin, step, stacked=ends, lines=submitted), "durations": durations}
