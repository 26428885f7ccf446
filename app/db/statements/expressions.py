"""Functions whose names or arguments differ by engine."""

from typing import Any, TypeVarTuple

from sqlalchemy import BigInteger, Boolean, ColumnElement, Double, LargeBinary, Select, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.core.engines import MYSQL, SQLITE
from app.ddl.columns import mysql_collation
from app.models.task import Task

Row = TypeVarTuple("Row")


class greatest(FunctionElement[Any]):  # noqa: N801 (the function's name in SQL)
    """The greatest of its arguments, none of which is NULL."""

    inherit_cache = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.type = next(iter(self.clauses)).type


class least(greatest):  # noqa: N801
    """The least of its arguments, none of which is NULL."""

    inherit_cache = True


class octet_length(FunctionElement[int]):  # noqa: N801
    """The bytes of a text."""

    type = BigInteger()
    inherit_cache = True


class packed_ids(FunctionElement[bytes]):  # noqa: N801
    """The bytes of the ids of a group, one after the other, in their order."""

    type = LargeBinary()
    inherit_cache = True


class seconds_between(FunctionElement[float]):  # noqa: N801
    """The seconds from the first time to the second one, fractions included."""

    type = Double()
    inherit_cache = True


class lower_case(FunctionElement[str]):  # noqa: N801
    """A text in small letters, of all alphabets."""

    type = Text()
    inherit_cache = True


class position_in(FunctionElement[int]):  # noqa: N801
    """Where the second text stands in the first one, from 1; 0 where it does not."""

    type = BigInteger()
    inherit_cache = True


class has_member(FunctionElement[bool]):  # noqa: N801
    """Whether a list of texts, the first argument, has the second one."""

    type = Boolean()
    inherit_cache = True


def holds_text(column: Any, text: str) -> ColumnElement[bool]:
    """Return the condition that a column holds this text, ignoring case."""
    return position_in(lower_case(column), lower_case(literal(text, Text))) > 0


def _arguments(element: Any, compiler: SQLCompiler, options: dict[str, Any]) -> list[str]:
    return [compiler.process(each, **options) for each in element.clauses]


def _spell(function: type[FunctionElement[Any]], name: str, *engines: str) -> None:
    """Have these engines call the function by this name; without engines, each one that has no other name for it."""

    def call(element: FunctionElement[Any], compiler: SQLCompiler, **options: Any) -> str:
        return f"{name}({', '.join(_arguments(element, compiler, options))})"

    compiles(function, *engines)(call)


_spell(greatest, "greatest")
_spell(greatest, "max", SQLITE)
_spell(least, "least")
_spell(least, "min", SQLITE)
_spell(octet_length, "octet_length")
_spell(lower_case, "lower")
_spell(lower_case, "lower_case", SQLITE)  # which each connection defines (`app/db/connections/sqlite.py`)
_spell(position_in, "strpos")
_spell(position_in, "instr", MYSQL, SQLITE)


@compiles(octet_length, "postgresql")
def _octet_length_as_text(element: octet_length, compiler: SQLCompiler, **options: Any) -> str:
    (text,) = _arguments(element, compiler, options)
    is_parsed = next(iter(element.clauses)).type.__visit_name__ in {"ARRAY", "JSONB"}
    return f"octet_length({text}::text)" if is_parsed else f"octet_length({text})"


@compiles(packed_ids)
def _string_agg(element: packed_ids, compiler: SQLCompiler, **options: Any) -> str:
    (ids,) = _arguments(element, compiler, options)
    return f"string_agg(uuid_send({ids}), ''::bytea ORDER BY {ids})"


@compiles(packed_ids, "mysql")
def _group_concat(element: packed_ids, compiler: SQLCompiler, **options: Any) -> str:
    (ids,) = _arguments(element, compiler, options)
    return f"group_concat({ids} ORDER BY {ids} SEPARATOR '')"


@compiles(packed_ids, "sqlite")
def _unhex(element: packed_ids, compiler: SQLCompiler, **options: Any) -> str:
    (ids,) = _arguments(element, compiler, options)
    return f"unhex(group_concat({ids}, '' ORDER BY {ids}))"


@compiles(seconds_between)
def _epoch(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    begin, end = _arguments(element, compiler, options)
    return f"CAST(extract(epoch FROM {end} - {begin}) AS double precision)"


@compiles(seconds_between, "mysql")
def _timestampdiff(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    return f"(timestampdiff(MICROSECOND, {', '.join(_arguments(element, compiler, options))}) / 1000000.0)"


@compiles(seconds_between, "sqlite")
def _difference(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    begin, end = _arguments(element, compiler, options)
    return f"(({end} - {begin}) / 1000000.0)"


@compiles(has_member)
def _contains(element: has_member, compiler: SQLCompiler, **options: Any) -> str:
    members, text = _arguments(element, compiler, options)
    return f"{members} @> ARRAY[{text}]::text[]"


@compiles(has_member, "mysql")
def _json_table(element: has_member, compiler: SQLCompiler, **options: Any) -> str:
    """MariaDB's json_contains() compares escaped characters as they are written.

    Without a character set the column would have that of the database, which may be another one than the tables'.
    """
    members, text = _arguments(element, compiler, options)
    rows = f"json_table({members}, '$[*]' COLUMNS (value VARCHAR(200) CHARACTER SET utf8mb4 PATH '$')) AS member"
    return f"EXISTS (SELECT 1 FROM {rows} WHERE member.value COLLATE {mysql_collation(compiler.dialect)} = {text})"  # noqa: S608  # nosec B608


@compiles(has_member, "sqlite")
def _json_each(element: has_member, compiler: SQLCompiler, **options: Any) -> str:
    members, text = _arguments(element, compiler, options)
    return f"EXISTS (SELECT 1 FROM json_each({members}) WHERE value = {text})"  # noqa: S608 (compiled SQL)  # nosec B608


def by_index(newest: Select[*Row], index: str) -> Select[*Row]:
    """The same rows of `tasks`, of which LIMIT takes the newest, read by this index.

    MySQL would rather look for the rows of a user with many of them among all tasks, from the newest on.
    """
    return newest.with_hint(Task, f"FORCE INDEX ({index})", MYSQL)
