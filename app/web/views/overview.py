"""The first page: whether the service is well, what fails, and what runs longest."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.models.error_group import ErrorState
from app.models.task_filter import TaskFilter
from app.services.operations import error_group_service, queue_service, stats_service
from app.services.operations.error_group_service import ErrorFilter
from app.services.operations.stats_service import Stats, StatsWindow
from app.services.task_service import task_service
from app.web import charts
from app.web.access import PageUser
from app.web.rendering import NavigationEntry, page
from app.web.shown_tasks import shown

router = SlashRouter()
NAVIGATION = (NavigationEntry(1, "/", "Overview"),)

LONGEST, GROUPS = 10, 5


@router.get("/")
@costly(lambda _: True)
def overview(
    request: Request, db: SessionDep, user: PageUser, window: Annotated[StatsWindow, Query()] = StatsWindow.HOUR
) -> Response:
    stats = stats_service.get_stats(db, user.owner, window=window)
    open_groups = ErrorFilter(user_id=user.owner, state=ErrorState.OPEN)
    queues = queue_service.list_queues(db, to_admin=user.is_admin)
    deepest = max((queue.ready + queue.running for queue in queues), default=0)
    values = {
        "counts": task_service.show_counts(db, TaskFilter(user_id=user.owner)),
        "queues": [(each, charts.row({"running": each.running, "ready": each.ready}, deepest)) for each in queues],
        "ready": sum(each.ready for each in queues),
        "oldest": max((each.oldest_ready_seconds or 0 for each in queues), default=0),
        "longest": shown(task_service.longest_running(db, LONGEST, owner=user.owner)),
        "groups": error_group_service.list_error_groups(db, open_groups, GROUPS).items,
        "window": window.value,
        "windows": [each.value for each in StatsWindow],
        "stats": stats,
        **_pictures(stats),
    }
    return page(request, "overview.html", values)


def _pictures(stats: Stats) -> dict[str, Any]:
    """The numbers of all kinds of tasks together, and the pictures of them."""
    ends = {
        kind: [sum(numbers) for numbers in zip(*(getattr(each, kind) for each in stats.series), strict=True)]
        for kind in ("succeeded", "failed", "revoked", "submitted")
    }
    totals = {kind: sum(numbers) for kind, numbers in ends.items()}
    submitted = ends.pop("submitted")
    bars, highest = charts.columns(ends, beside=submitted)
    durations = {}
    for name in ("wait_seconds", "run_seconds"):
        lines = {percent: stats.over_time[name][percent] for percent in ("p50", "p95")}
        top = charts.highest_of(*lines.values())
        durations[name] = {
            "paths": {percent: charts.line(values, top) for percent, values in lines.items()},
            "of_all": getattr(stats, name),
        }
    arrivals = charts.line(submitted, highest)
    return {"totals": totals, "bars": bars, "arrivals": arrivals, "highest": highest, "durations": durations}
