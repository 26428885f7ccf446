"""Columns that MySQL alone has, in the place of what the other engines have by themselves."""

from sqlalchemy import DDL, FromClause, event

from app.core.engines import MYSQL

# The number of a row, as `rowid` of SQLite and `ctid` of PostgreSQL: the table has no key.
_NUMBERED = "ADD COLUMN seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST"
# 1 where an id tells another time than `created_at`: indexed in the place of a partial index (`app/ddl/indexes.py`).
# The first six bytes of the id are the milliseconds since 1970.
_ODD_ID = """ADD COLUMN odd_id TINYINT AS (CASE WHEN abs(
    CAST(conv(hex(left(id, 6)), 16, 10) AS SIGNED) - timestampdiff(MICROSECOND, '1970-01-01', created_at) DIV 1000
) > 60000 THEN 1 END) STORED, ADD INDEX ix_tasks_odd_ids (odd_id, user_id)"""
# The nominal time of a schedule's task, for an index by it. Not stored: no row is written to add it.
_SCHEDULED_FOR = """ADD COLUMN scheduled_for VARCHAR(32) AS (
    CASE WHEN schedule_id IS NOT NULL THEN left(json_unquote(json_extract(metadata, '$.scheduled_for')), 32) END
) VIRTUAL, ADD INDEX ix_tasks_scheduled_for (schedule_id, scheduled_for)"""
_ADDED = {"task_count_changes": _NUMBERED, "task_submissions": _NUMBERED, "tasks": f"{_ODD_ID}, {_SCHEDULED_FOR}"}


def add_to(table: FromClause) -> None:
    """Have `table` created with its column."""
    ddl = DDL(f"ALTER TABLE %(table)s {_ADDED[str(table)]}")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", ddl.execute_if(dialect=MYSQL))
