"""The witness's table, and the triggers that write into it, on the engine of this session."""

from collections.abc import Iterator

from sqlalchemy import JSON, BigInteger, Column, MetaData, Table
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.types import TypeEngine

from app.ddl.columns import Id, UTCDateTime
from app.ddl.sqlite import NOW
from app.models.task import Task
from tests.support.databases import ENGINE

WITNESS = Table(
    "witness", MetaData(),
    Column("seq", BigInteger, primary_key=True), Column("at", UTCDateTime), Column("task_id", Id),
    Column("old", JSON(none_as_null=True)), Column("new", JSON(none_as_null=True)),
)  # fmt: skip

_POSTGRESQL = (
    """CREATE TABLE witness (
        seq bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), task_id uuid NOT NULL,
        old jsonb, new jsonb
    )""",
    """CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO witness (task_id, old, new) VALUES (coalesce(NEW.id, OLD.id), to_jsonb(OLD), to_jsonb(NEW));
        RETURN NULL;
    END
    $$""",
    "CREATE TRIGGER witness AFTER INSERT OR UPDATE OR DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION witness()",
)
_MYSQL_TABLE = """CREATE TABLE witness (
    seq BIGINT AUTO_INCREMENT PRIMARY KEY, `at` DATETIME(6) NOT NULL, task_id BINARY(16) NOT NULL,
    `old` LONGTEXT, `new` LONGTEXT
)"""
# The statement's own time would be that of its begin, before it waited for the row.
_MYSQL_NOW = "convert_tz(sysdate(6), @@session.time_zone, '+00:00')"
_SQLITE_TABLE = """CREATE TABLE witness (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at BIGINT NOT NULL, task_id CHAR(32) NOT NULL, old TEXT, new TEXT
)"""


def statements() -> tuple[str, ...]:
    """What makes the table and the triggers. AFTER the row's lock is held: of one task, the numbers are in order."""
    if ENGINE == "postgresql":
        return _POSTGRESQL
    return (_SQLITE_TABLE, *_triggers(NOW)) if ENGINE == "sqlite" else (_MYSQL_TABLE, *_triggers(_MYSQL_NOW))


def _triggers(now: str) -> Iterator[str]:
    for event, has_old, has_new in (("INSERT", False, True), ("UPDATE", True, True), ("DELETE", True, False)):
        old, new = (_row("OLD") if has_old else "NULL"), (_row("NEW") if has_new else "NULL")
        insert = (
            f"INSERT INTO witness ({', '.join(map(_quoted, ('at', 'task_id', 'old', 'new')))})"
            f" VALUES ({now}, {'NEW' if has_new else 'OLD'}.id, {old}, {new})"
        )
        body = f"BEGIN {insert}; END" if ENGINE == "sqlite" else insert
        yield f"CREATE TRIGGER witness_{event.lower()} AFTER {event} ON tasks FOR EACH ROW {body}"


def _row(which: str) -> str:
    """It as JSON, an id as digits."""
    return f"json_object({', '.join(f'{name!r}, {value}' for name, value in _values(which))})"


def _values(which: str) -> Iterator[tuple[str, str]]:
    for column in Task.__table__.columns:
        value = f"{which}.{_quoted(column.name)}"
        yield column.name, f"lower(hex({value}))" if _is_binary(column.type) else value


def _is_binary(kind: TypeEngine[object]) -> bool:
    dialect = sqlite.dialect() if ENGINE == "sqlite" else mysql.dialect()
    return "BINARY" in kind.compile(dialect)


def _quoted(name: str) -> str:
    return f"`{name}`"
