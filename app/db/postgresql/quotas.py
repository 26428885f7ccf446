"""What a user has queued and has submitted lately, counted up to where a quota is full."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

# By indexes that lead to this user's rows alone: at most `queued` rows of each unfinished status, and no row of the
# last minute with an id below `oldest`.
_LOOK = text("""
SELECT queued.tasks, queued.bytes, recent.tasks, recent.seconds FROM (
    SELECT count(*) AS tasks, coalesce(sum(octet_length(args) + octet_length(kwargs)), 0)::bigint AS bytes
    FROM (
        (SELECT args, kwargs FROM tasks WHERE user_id = :user_id AND status = 'pending' ORDER BY id DESC LIMIT :queued)
        UNION ALL
        (SELECT args, kwargs FROM tasks WHERE user_id = :user_id AND status = 'running' ORDER BY id DESC LIMIT :queued)
    ) AS active
) AS queued, (
    SELECT count(*) AS tasks,
        coalesce(extract(epoch FROM min(created_at) + :window * interval '1 second' - clock_timestamp()), 0)::float
            AS seconds
    FROM tasks
    WHERE :rated AND user_id = :user_id AND id > CAST(:oldest AS uuid)
        AND created_at > statement_timestamp() - :window * interval '1 second'
) AS recent
""")


class Look(NamedTuple):
    """Queued tasks, bytes of their arguments; tasks of the last window, seconds until the oldest of them leaves it."""

    tasks: int
    bytes: int
    recent: int
    recent_seconds: float


def look(db: Session, *, user_id: UUID, queued: int, rated: bool, window: int, oldest: UUID) -> Look:
    """Read the user's load in one statement.

    `queued`: how many tasks of each unfinished status to read. `rated`: whether to count the tasks of the last `window`
    seconds, whose ids are above `oldest`.
    """
    values = {"user_id": user_id, "queued": queued, "rated": rated, "window": window, "oldest": oldest}
    return Look(*db.execute(_LOOK, values).one())
