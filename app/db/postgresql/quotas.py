"""What a user has queued, has submitted lately and keeps, counted up to where a quota is full."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.every_engine.quotas import Look
from app.db.sizes import task_bytes

# By indexes that lead to this user's rows alone: at most `queued` rows of each unfinished status, and no row of the
# last minute with an id below `oldest`.
_QUEUED = f"""
    SELECT octet_length(args) + octet_length(kwargs) AS arguments, {task_bytes("tasks")} AS stored
    FROM tasks WHERE user_id = :user_id AND status = '{{}}' ORDER BY id DESC LIMIT :queued
"""  # noqa: S608 (constants)  # nosec B608
# What a user keeps besides: the sums of each kind, and what is not added to them yet. A table of files, say, that keeps
# no sums is one UNION more.
_KEPT = """
    SELECT bytes FROM stored_bytes WHERE user_id = :user_id
    UNION ALL SELECT bytes FROM task_count_changes WHERE user_id = :user_id
"""
_LOOK = text(f"""
SELECT queued.tasks, queued.bytes, queued.stored, recent.tasks, recent.seconds, ended.bytes FROM (
    SELECT count(*) AS tasks, coalesce(sum(arguments), 0)::bigint AS bytes, coalesce(sum(stored), 0)::bigint AS stored
    FROM (({_QUEUED.format("pending")}) UNION ALL ({_QUEUED.format("running")})) AS active
) AS queued, (
    SELECT count(*) AS tasks,
        coalesce(extract(epoch FROM min(created_at) + :window * interval '1 second' - clock_timestamp()), 0)::float
            AS seconds
    FROM tasks
    WHERE :rated AND user_id = :user_id AND id > CAST(:oldest AS uuid)
        AND created_at > statement_timestamp() - :window * interval '1 second'
) AS recent, (
    SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM ({_KEPT}) AS kept
) AS ended
""")  # noqa: S608 (constants)  # nosec B608


def look(db: Session, *, user_id: UUID, queued: int, rated: bool, window: int, oldest: UUID) -> Look:
    """Read the user's load in one statement.

    `queued`: how many tasks of each unfinished status to read. `rated`: whether to count the tasks of the last `window`
    seconds, whose ids are above `oldest`.
    """
    values = {"user_id": user_id, "queued": queued, "rated": rated, "window": window, "oldest": oldest}
    return Look(*db.execute(_LOOK, values).one())
