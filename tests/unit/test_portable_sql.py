"""SQL that not every engine understands stands in the rooms of the engines; everything else is portable SQLAlchemy Core.

`app/db/postgresql/` is the room of PostgreSQL, `app/db/portable/` that of the others; both build on `app/db/every_engine/`. Read from the sources: compiling a
statement for another dialect lets most of these constructs through.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.db import portable, postgresql
from tests.support.sources import APP, app_files, name_of, text_of

POSTGRESQL, PORTABLE, EVERY_ENGINE = (APP / "db" / name for name in ("postgresql", "portable", "every_engine"))
MAY_KNOW_ENGINES = {
    POSTGRESQL,
    # But nothing of PostgreSQL.
    PORTABLE,
    EVERY_ENGINE,
    APP / "migrations",
    APP / "db" / "connecting",
    # What models and statements name, and each engine compiles to its own: types, the clock, indexes, a hash, a derived column.
    APP / "db" / "columns.py",
    APP / "db" / "clock.py",
    APP / "db" / "fingerprints.py",
    APP / "db" / "indexes.py",
    APP / "db" / "waiting.py",
    APP / "db" / "triggers.py",
}

# What every engine has, and spells alike.
FUNCTIONS = {"coalesce", "count", "length", "lower", "max", "min", "octet_length", "sum", "upper"}
DRIVERS = ("sqlalchemy.dialects", "psycopg", "psycopg2")
NAMES = {"ARRAY", "TextClause", "all_", "any_", "lateral", "literal_column", "text"}
METHODS = {
    "bool_op", "exec_driver_sql", "lateral", "on_conflict_do_nothing", "on_conflict_do_update", "op",
    "raw_connection", "regexp_match", "render_derived", "returning", "table_valued", "with_for_update",
}  # fmt: skip

# What no engine but PostgreSQL has, or not all of the others.
OF_POSTGRESQL = ("ARRAY", "all_", "any_", "lateral", "sqlalchemy.dialects.postgresql", "psycopg", "psycopg2")
METHODS_OF_POSTGRESQL = {"bool_op", "filter", "lateral", "render_derived", "returning", "table_valued"}


def engine_only(source: str) -> list[str]:
    """The constructs in this source that not every engine has, each with its line."""
    tree = ast.parse(source)
    names = dict(_names_of_sqlalchemy(tree))
    return [f"{line}: {what}" for node in ast.walk(tree) for line, what in _found(node, names)]


def postgresql_only(source: str) -> list[str]:
    """The constructs in this source that SQLite, MySQL or MariaDB lacks, each with its line."""
    return [each for each in [*engine_only(source), *_filters(source)] if _is_of_postgresql(each.partition(": ")[2])]


def _filters(source: str) -> list[str]:
    """Of aggregates, which MySQL lacks. `select().filter()` is written `where()` here."""
    called = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [f"{node.lineno}: .filter()" for node in called if getattr(node.func, "attr", "") == "filter"]


def _is_of_postgresql(what: str) -> bool:
    if what.startswith("."):
        return what[1:].removesuffix("()") in METHODS_OF_POSTGRESQL
    if what.startswith(("sqlalchemy.dialects", "psycopg")):
        return f"{what}.".startswith(tuple(f"{each}." for each in OF_POSTGRESQL))
    return what.startswith("postgresql_") or what.rpartition(".")[2] in OF_POSTGRESQL


def _names_of_sqlalchemy(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What a name of this module stands for: `sa` for `sqlalchemy`, `f` for `sqlalchemy.func`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _found(node: ast.AST, names: dict[str, str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for imported in (f"{prefix}{alias.name}" for alias in node.names):
            if f"{imported}.".startswith(tuple(f"{driver}." for driver in DRIVERS)) or _is_engine_only(imported):
                yield node.lineno, imported
    elif isinstance(node, ast.Attribute):
        full = _full_name(node, names)
        function = full.partition("sqlalchemy.func.")[2]
        if _is_engine_only(full) or (function and function not in FUNCTIONS):
            yield node.lineno, full
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            yield node.lineno, f".{node.func.attr}()"
        yield from ((node.lineno, each.arg) for each in node.keywords if (each.arg or "").startswith("postgresql_"))


def _is_engine_only(name: str) -> bool:
    package, _, last = name.rpartition(".")
    return package.split(".")[0] == "sqlalchemy" and last in NAMES


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, names)}.{node.attr}"
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def outside() -> list[Path]:
    found = [path for path in app_files() if not MAY_KNOW_ENGINES & {path, *path.parents}]
    assert len(found) > 100
    return found


@pytest.mark.parametrize("path", outside(), ids=name_of)
def test_every_statement_outside_of_the_rooms_is_portable(path: Path) -> None:
    assert engine_only(text_of(path)) == []


@pytest.mark.parametrize("path", [*app_files("db/portable"), *app_files("db/every_engine")], ids=name_of)
def test_what_other_engines_execute_has_no_sql_of_postgresql(path: Path) -> None:
    assert postgresql_only(text_of(path)) == []


def modules(room: Path) -> set[str]:
    """By their paths within the room; a package by its own name too."""
    found = {path.relative_to(room).with_suffix("").as_posix() for path in room.rglob("*.py")}
    return {name.removesuffix("/__init__") for name in found} - {"__init__"}


def told(room: ModuleType) -> set[str]:
    lines = (room.__doc__ or "").splitlines()
    return {line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "}


def test_the_docstring_of_the_room_tells_of_every_module() -> None:
    assert told(postgresql) == modules(POSTGRESQL)


def test_that_of_the_other_room_tells_of_those_that_postgresql_has_not() -> None:
    """The others have the names and functions of their namesakes there (`test_rooms.py`)."""
    within = {name for name in modules(PORTABLE) if "/" not in name}
    assert told(portable) == within - modules(POSTGRESQL)


class TestTheRule:
    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ("from sqlalchemy import text", "sqlalchemy.text"),
            ("from sqlalchemy.sql import text as words", "sqlalchemy.sql.text"),
            ("import sqlalchemy as sa\nsa.text('SELECT 1')", "sqlalchemy.text"),
            ("from sqlalchemy import literal_column", "sqlalchemy.literal_column"),
            ("from sqlalchemy import ARRAY, any_", "sqlalchemy.ARRAY"),
            ("Task.tags.op('@>')(tags)", ".op()"),
            ("update(Task).returning(Task.id)", ".returning()"),
            ("select(Task).with_for_update(skip_locked=True)", ".with_for_update()"),
            ("insert(Task).on_conflict_do_nothing()", ".on_conflict_do_nothing()"),
            ("select(Task).lateral('each')", ".lateral()"),
            ("from sqlalchemy.dialects.postgresql import JSONB", "sqlalchemy.dialects.postgresql.JSONB"),
            ("from sqlalchemy.dialects import postgresql", "sqlalchemy.dialects.postgresql"),
            ("import sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.sqlite"),
            ("import psycopg2", "psycopg2"),
            ("from psycopg2 import errorcodes", "psycopg2.errorcodes"),
            ("from sqlalchemy import func\nfunc.greatest(1, 2)", "sqlalchemy.func.greatest"),
            ("from sqlalchemy import func as f\nf.clock_timestamp()", "sqlalchemy.func.clock_timestamp"),
            ("import sqlalchemy\nsqlalchemy.func.now()", "sqlalchemy.func.now"),
            ("Index('a', 'b', postgresql_where=c)", "postgresql_where"),
            ("def late():\n    from sqlalchemy import text", "sqlalchemy.text"),
        ],
    )
    def test_finds(self, source: str, told: str) -> None:
        assert told in [found.partition(": ")[2] for found in engine_only(source)]

    @pytest.mark.parametrize(
        "source",
        [
            "from sqlalchemy import func, select\nselect(func.count(), func.coalesce(a, b)).where(a.in_(c))",
            "from app.texts import text\ntext('a')",
            "response.text",
            "def wrap(func):\n    return func.greatest",
            "from sqlalchemy import Text, update\nupdate(Task).where(Task.id == 1).values(name='a')",
        ],
    )
    def test_lets_portable_code_through(self, source: str) -> None:
        assert engine_only(source) == []

    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ("insert(Task).returning(Task.id)", ".returning()"),
            ("select(Task).lateral('each')", ".lateral()"),
            ("from sqlalchemy import lateral", "sqlalchemy.lateral"),
            ("import sqlalchemy as sa\nsa.any_(names)", "sqlalchemy.any_"),
            ("from sqlalchemy import ARRAY", "sqlalchemy.ARRAY"),
            ("from psycopg2 import errorcodes", "psycopg2.errorcodes"),
            ("from sqlalchemy.dialects.postgresql import insert", "sqlalchemy.dialects.postgresql.insert"),
            ("from sqlalchemy.dialects import mysql, postgresql", "sqlalchemy.dialects.postgresql"),
            ("func.count().filter(Task.id == 1)", ".filter()"),
        ],
    )
    def test_finds_what_is_of_postgresql_alone(self, source: str, told: str) -> None:
        assert [found.partition(": ")[2] for found in postgresql_only(source)] == [told]

    @pytest.mark.parametrize(
        "source",
        [
            "from sqlalchemy.dialects import mysql, sqlite",
            "from sqlalchemy import text\ntext('SELECT 1')",
            "sqlite.insert(table).on_conflict_do_nothing()",
            "select(Task).with_for_update(skip_locked=True)",
            "from sqlalchemy import func\nfunc.concat(1, 2)",
        ],
    )
    def test_lets_through_what_the_others_have(self, source: str) -> None:
        assert postgresql_only(source) == []
