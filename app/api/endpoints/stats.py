"""The endpoint of numbers by time."""

from typing import Annotated

from fastapi import Query

from app.api.deps import SessionDep, TaskReader
from app.api.http.problems import raises
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.api.task_filters import WhoseByDefaultAll, visible_to_admin
from app.errors import AdminOnly
from app.schemas.stats import StatsRead
from app.services.operations import stats_service
from app.services.operations.stats_service import Stats, StatsKey, StatsWindow

router = SlashRouter(prefix="/stats", tags=["stats"])
TAG_DESCRIPTION = "What was created and what ended by time, how long tasks waited and ran."

Window = Annotated[
    StatsWindow, Query(description="How far to look back: `1h` by the minute, `24h` by 15 minutes, `7d` by the hour.")
]
By = Annotated[StatsKey, Query(description="What the series are of: `task_type`, queue or priority.")]


@router.get("", response_model=StatsRead, response_description="The numbers of the window")
@router.get("/", include_in_schema=False, response_model=StatsRead)
@raises(AdminOnly)
@costly(lambda _: True)
def get_stats(
    db: SessionDep,
    user: TaskReader,
    window: Window = StatsWindow.HOUR,
    by: By = StatsKey.TYPE,
    user_id: WhoseByDefaultAll = None,
) -> Stats:
    """Show how many tasks were created and ended in each step of time, and how long they waited and ran.

    The numbers lag by one pass of maintenance, half a second. They tell what happened: a task that was deleted or
    retried later still counts.
    """
    return stats_service.get_stats(db, visible_to_admin(user, user_id), window=window, by=by)
