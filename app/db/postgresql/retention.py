"""Deletes ended tasks by age and by bytes, of one user after another: by the index of each user's ended tasks."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.every_engine.retention import Stored
from app.db.rows import changed_rows
from app.db.sizes import ENDED_TASKS, task_bytes

# Whoever has ended tasks is in one of the two, and few of all users are.
_OWNERS = "SELECT user_id FROM task_totals UNION SELECT user_id FROM task_count_changes"
_OLDER = text(f"""
WITH old AS (
    SELECT of_user.id, of_user.bytes FROM ({_OWNERS}) AS owners CROSS JOIN LATERAL (
        SELECT id, {task_bytes("tasks")} AS bytes FROM tasks
        WHERE user_id = owners.user_id AND finished_at < statement_timestamp() - :age
        ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS of_user LIMIT :limit
), summed AS (
    SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM old
)
DELETE FROM tasks
WHERE id IN (SELECT id FROM summed WHERE before < :bytes) AND finished_at < statement_timestamp() - :age
""")  # noqa: S608 (constants)  # nosec B608

_BEYOND = text(f"""
SELECT user_id, sum(bytes)::bigint AS bytes FROM (
    SELECT user_id, bytes FROM stored_bytes WHERE kind = '{ENDED_TASKS}'
    UNION ALL SELECT user_id, bytes FROM task_count_changes
) AS stored GROUP BY user_id HAVING sum(bytes) > :limit ORDER BY sum(bytes) DESC LIMIT :users
""")  # noqa: S608 (constants)  # nosec B608
# A task goes if those that ended before it are fewer bytes than are too many. The sizes are read from the rows, and the
# large values are not.
_OLDEST = text(f"""
WITH oldest AS (
    SELECT id, finished_at, {task_bytes("tasks")} AS bytes FROM tasks
    WHERE user_id = :user_id AND finished_at < statement_timestamp() - :spared
    ORDER BY finished_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
), summed AS (
    SELECT id, bytes, sum(bytes) OVER (ORDER BY finished_at, id) - bytes AS before FROM oldest
), gone AS (
    DELETE FROM tasks USING summed WHERE tasks.id = summed.id AND summed.before < :bytes RETURNING summed.bytes
)
SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM gone
""")  # noqa: S608 (constants)  # nosec B608


def delete_older(db: Session, age: timedelta, limit: int, most_bytes: int) -> int:
    """Delete tasks that ended longer ago than `age`: at most `limit`, of about `most_bytes`, one at least.

    Returns how many, 0 once none is left.
    """
    return changed_rows(db.execute(_OLDER, {"age": age, "limit": limit, "bytes": most_bytes}))


def users_beyond(db: Session, limit: int, users: int) -> Sequence[Stored]:
    """The users whose ended tasks take more than `limit` bytes, at most `users` of them, the largest first."""
    return [Stored(*row) for row in db.execute(_BEYOND, {"limit": limit, "users": users})]


def delete_oldest(db: Session, user_id: UUID, wanted: int, spared: timedelta, limit: int) -> tuple[int, int]:
    """Delete the user's tasks that ended first, until `wanted` bytes are free; at most `limit` tasks.

    Spares those that ended within `spared`, and those that another transaction has locked. Returns how many it deleted,
    and their bytes.
    """
    values = {"user_id": user_id, "bytes": wanted, "spared": spared, "limit": limit}
    tasks, freed = db.execute(_OLDEST, values).one()
    return tasks, freed
