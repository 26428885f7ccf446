"""The column types of the models, as each engine stores them, and the declarative base of the models.

PostgreSQL has types of its own for times, lists, parsed JSON and UUIDs. Elsewhere a list and a JSON object are JSON
text, and a UUID is its 16 bytes (MySQL) or its hexadecimal digits (SQLite). A time is a DATETIME(6) in UTC (MySQL) or
the microseconds since 1970 (SQLite), so that each engine compares and adds times exactly. MySQL indexes no text without
a length, and compares it by letters regardless of case unless told otherwise: hence `ShortText`, and the collation.
"""

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import BINARY, TypeDecorator, TypeEngine

from app.core.json_text import dump_json
from app.core.moments import EPOCH, MICROSECOND

# Compare by code points, a space at the end included, as PostgreSQL compares for equality: under `utf8mb4_bin`, which
# both have, 'a' and 'a ' are the same.
COLLATION_OF_MYSQL, COLLATION_OF_MARIADB = "utf8mb4_0900_bin", "utf8mb4_nopad_bin"


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# -- Times -------------------------------------------------------------------------------------------------------------


class _Microtime(sa.DateTime):
    """With microseconds, also on MySQL."""


class _MySQLTime(TypeDecorator[datetime]):
    impl = _Microtime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else _in_utc(value).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else value.replace(tzinfo=UTC)


class _SQLiteTime(TypeDecorator[datetime]):
    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else (_in_utc(value) - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else EPOCH + value * MICROSECOND


class _Microseconds(sa.ColumnElement[Any]):
    """A number of microseconds as MySQL's interval, which has no type there and stands beside `+` and `-` alone."""

    inherit_cache = True

    def __init__(self, number: sa.ColumnElement[Any]) -> None:
        self.number = number


@compiles(_Microseconds, "mysql")
def _interval(element: _Microseconds, compiler: SQLCompiler, **options: Any) -> str:
    return f"INTERVAL {compiler.process(element.number, **options)} MICROSECOND"


class _Duration(TypeDecorator[timedelta]):
    """A timedelta as microseconds."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else value // MICROSECOND


class _MySQLDuration(_Duration):
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> sa.ColumnElement[Any]:
        return _Microseconds(bindparam)


Duration: TypeEngine[timedelta] = (
    sa.Interval().with_variant(_MySQLDuration(), "mysql").with_variant(_Duration(), "sqlite")
)  # fmt: skip


class _Time(sa.DateTime):
    """A timedelta beside it, as in `NOW - timedelta(days=30)`, is a Duration."""

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return Duration if isinstance(value, timedelta) else super().coerce_compared_value(op, value)


UTCDateTime: TypeEngine[datetime] = (
    _Time(timezone=True).with_variant(_MySQLTime(), "mysql").with_variant(_SQLiteTime(), "sqlite")
)

# -- Texts and JSON ----------------------------------------------------------------------------------------------------


class _LongText(sa.Text):
    """MySQL's TEXT ends at 64 KiB."""


class short_text(sa.Text):  # noqa: N801 (used as a function)
    """A text that an index of MySQL can hold: no longer than so many characters."""

    def __init__(self, characters: int = 200) -> None:
        super().__init__()
        self.characters = characters


LongText: TypeEngine[str] = _LongText()


# Names of users' own, and of tasks and queues. `app/schemas/` allows no longer ones.
ShortText = short_text()
# States and kinds, which the code names.
Word = short_text(32)


class JSONText(TypeDecorator[Any]):
    """JSON kept as the exact text: JSONB would turn 1e22 into an integer and -0.0 into 0.0.

    ASCII only, so that a NUL or any other character of a string never meets the database's encoding. Python's
    None is SQL NULL. Raises ValueError for NaN and infinities, TypeError for what is not JSON.
    """

    impl = LongText
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        del dialect
        return None if value is None else dump_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        del dialect
        # Most lists and objects are empty: a page of fifty tasks has a hundred of them.
        return None if value is None else [] if value == "[]" else {} if value == "{}" else json.loads(value)


# A list of strings in one column.
TextList: TypeEngine[Any] = postgresql.ARRAY(sa.Text).with_variant(JSONText(), "mysql", "sqlite")
# A JSON object that PostgreSQL stores parsed: its numbers are PostgreSQL's, its key order is not kept.
JsonObject: TypeEngine[Any] = postgresql.JSONB().with_variant(JSONText(), "mysql", "sqlite")


def array_of(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return an array of such values, which is a parameter of PostgreSQL's."""
    return postgresql.ARRAY(kind)


class EmptyTextList(sa.ColumnElement[list[str]]):
    """The default of a TextList."""

    inherit_cache = True


@compiles(EmptyTextList)
def _empty_array(element: EmptyTextList, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return "'{}'"


@compiles(EmptyTextList, "mysql")
@compiles(EmptyTextList, "sqlite")
def _empty_json_list(element: EmptyTextList, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return "('[]')"


class EmptyJsonObject(sa.ColumnElement[Any]):
    """The default of a JSON object. MySQL takes a default of a long text only as an expression."""

    inherit_cache = True


@compiles(EmptyJsonObject)
def _empty_object(element: EmptyJsonObject, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return "'{}'"


@compiles(EmptyJsonObject, "mysql")
def _empty_object_of_mysql(element: EmptyJsonObject, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return "('{}')"


def subset_check(column: str, allowed: list[str], name: str) -> sa.CheckConstraint:
    """A CHECK that the TextList `column` is not empty and holds nothing but `allowed`. Of PostgreSQL alone."""
    names = ", ".join(f"'{each}'" for each in allowed)
    return sa.CheckConstraint(f"{column} <@ ARRAY[{names}] AND {column} <> '{{}}'", name=name).ddl_if("postgresql")


class Condition(sa.ColumnElement[bool]):
    """A SQL text that is a condition for a CHECK. MySQL does not take a CASE for one."""

    inherit_cache = True

    def __init__(self, condition: str) -> None:
        self.condition = condition


@compiles(Condition)
def _condition(element: Condition, compiler: SQLCompiler, **options: Any) -> str:
    del compiler, options
    return element.condition


@compiles(Condition, "mysql")
def _condition_of_mysql(element: Condition, compiler: SQLCompiler, **options: Any) -> str:
    del compiler, options
    return f"({element.condition}) IS TRUE"


# -- Ids, bytes and numbers --------------------------------------------------------------------------------------------


class _UUIDBytes(TypeDecorator[UUID]):
    impl = BINARY(16)
    cache_ok = True

    def process_bind_param(self, value: UUID | str | None, dialect: Dialect) -> bytes | None:
        del dialect
        return None if value is None else (value if isinstance(value, UUID) else UUID(value)).bytes

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> UUID | None:
        del dialect
        return None if value is None else UUID(bytes=bytes(value))


class _UUIDDigits(TypeDecorator[UUID]):
    impl = sa.Uuid
    cache_ok = True

    def process_bind_param(self, value: UUID | str | None, dialect: Dialect) -> UUID | None:
        del dialect
        return value if value is None or isinstance(value, UUID) else UUID(value)


class _Digest(sa.LargeBinary):
    """Of 64 bytes at most, so that MySQL can index it."""


class _Bytes(sa.LargeBinary):
    """MySQL's BLOB ends at 64 KiB."""


class _Double(sa.Float[Any]):
    """MySQL's FLOAT has 4 bytes."""


Id: TypeEngine[UUID] = sa.Uuid().with_variant(_UUIDBytes(), "mysql").with_variant(_UUIDDigits(), "sqlite")
# A hash, which may be a key.
Digest: TypeEngine[bytes] = _Digest()
Bytes: TypeEngine[bytes] = _Bytes()
Double: TypeEngine[float] = _Double()

# Not the types of SQLAlchemy's dialect: to import it takes two megabytes in each process, also on PostgreSQL.
_NAMES_OF_MYSQL: dict[type[TypeEngine[Any]], str] = {
    _Microtime: "DATETIME(6)",
    _LongText: "LONGTEXT",
    _Digest: "VARBINARY(64)",
    _Bytes: "LONGBLOB",
    _Double: "DOUBLE",
}


def _named(name: str) -> Any:
    return lambda *_, **__: name


for _kind, _name in _NAMES_OF_MYSQL.items():
    compiles(_kind, "mysql")(_named(_name))


@compiles(short_text, "mysql")
def _bounded(kind: short_text, compiler: Any, **options: Any) -> str:
    del compiler, options
    return f"VARCHAR({kind.characters})"


@compiles(CreateTable, "mysql")
def _with_charset(element: CreateTable, compiler: Any, **options: Any) -> str:
    """Every text of the table compares by code points, also where the server's default is another one."""
    text: str = compiler.visit_create_table(element, **options)
    collation = mysql_collation(compiler.dialect)
    return f"{text.rstrip()} ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE={collation}\n\n"


def mysql_collation(dialect: Dialect) -> str:
    """That of this server."""
    return COLLATION_OF_MARIADB if getattr(dialect, "is_mariadb", False) else COLLATION_OF_MYSQL


# -- The declarative base of the models --------------------------------------------------------------------------------

NAMING_CONVENTION = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UTCDateTime, str: LongText, UUID: Id, float: Double}  # noqa: RUF012 (SQLAlchemy's)


# -- Checks that several tables have -----------------------------------------------------------------------------------


def enum_check(column: str, kind: type[StrEnum]) -> sa.CheckConstraint:
    """Return the check that its column, of the same name, has a value of this enumeration, or none."""
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(str(each)) for each in kind)})", name=column)


# -- Column types that PostgreSQL alone has ----------------------------------------------------------------------------

# A list of strings in one column.
TextArray = ARRAY(sa.Text)
