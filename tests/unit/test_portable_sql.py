"""SQL of PostgreSQL alone stands in `app/db/postgresql/`; everything else is portable SQLAlchemy Core.

`app/db/statements/` may use what engines spell differently. Read from the sources: compiling a statement for another
dialect lets most of these constructs through.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import app.db.postgresql
from tests.support.sources import APP, app_files, assert_none, name_of, text_of

POSTGRESQL, STATEMENTS = (APP / "db" / name for name in ("postgresql", "statements"))
UPSERTS = STATEMENTS / "writes.py"  # renders the one statement that each engine has, and none alike
MAY_KNOW_ENGINES = {
    POSTGRESQL,
    # But nothing of PostgreSQL.
    STATEMENTS,
    APP / "migrations",
    APP / "db" / "connections",
    # What models and statements name, and each engine compiles to its own: types, the clock, indexes, triggers.
    APP / "ddl",
}

# What every engine has, and spells alike.
FUNCTIONS = {"coalesce", "count", "length", "lower", "max", "min", "octet_length", "sum", "upper"}
DRIVERS = ("sqlalchemy.dialects", "psycopg", "psycopg2")
NAMES = {"ARRAY", "TextClause", "all_", "any_", "lateral", "literal_column", "text"}
METHODS = {
    "bool_op", "exec_driver_sql", "lateral", "on_conflict_do_nothing", "on_conflict_do_update", "op",
    "raw_connection", "regexp_match", "render_derived", "returning", "table_valued",
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


def test_every_statement_outside_of_these_packages_is_portable() -> None:
    outside = [path for path in app_files() if not MAY_KNOW_ENGINES & {path, *path.parents}]
    assert len(outside) > 100
    assert_none(
        f"{name_of(path)}:{found}: `app/db/statements/` or `app/db/postgresql/` is its place"
        for path in outside
        for found in engine_only(text_of(path))
    )


def test_what_every_engine_executes_has_no_sql_of_postgresql() -> None:
    executed = [path for path in app_files("db/statements") if path != UPSERTS]
    assert_none(
        f"{name_of(path)}:{found}: not every engine has it"
        for path in executed
        for found in postgresql_only(text_of(path))
    )


def modules(package: Path) -> set[str]:
    """By their paths within the package; a package by its own name too."""
    found = {path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py")}
    return {name.removesuffix("/__init__") for name in found} - {"__init__"}


def told(package: ModuleType) -> set[str]:
    lines = (package.__doc__ or "").splitlines()
    return {line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "}


def test_the_docstring_of_postgresql_tells_of_every_module() -> None:
    assert told(app.db.postgresql) == modules(Path(str(app.db.postgresql.__file__)).parent)


# What the rules are to find, and what of it is of PostgreSQL alone.
OF_ONE_ENGINE = [
    ("from sqlalchemy import text", "sqlalchemy.text"),
    ("from sqlalchemy.sql import text as words", "sqlalchemy.sql.text"),
    ("import sqlalchemy as sa\nsa.text('SELECT 1')", "sqlalchemy.text"),
    ("from sqlalchemy import literal_column", "sqlalchemy.literal_column"),
    ("Task.tags.op('@>')(tags)", ".op()"),
    ("insert(Task).on_conflict_do_nothing()", ".on_conflict_do_nothing()"),
    ("import sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.sqlite"),
    ("from sqlalchemy import func\nfunc.greatest(1, 2)", "sqlalchemy.func.greatest"),
    ("from sqlalchemy import func as f\nf.clock_timestamp()", "sqlalchemy.func.clock_timestamp"),
    ("import sqlalchemy\nsqlalchemy.func.now()", "sqlalchemy.func.now"),
    ("def late():\n    from sqlalchemy import text", "sqlalchemy.text"),
]
OF_POSTGRESQL_ALONE = [
    ("from sqlalchemy import ARRAY, any_", "sqlalchemy.ARRAY"),
    ("import sqlalchemy as sa\nsa.any_(names)", "sqlalchemy.any_"),
    ("from sqlalchemy import lateral", "sqlalchemy.lateral"),
    ("update(Task).returning(Task.id)", ".returning()"),
    ("select(Task).lateral('each')", ".lateral()"),
    ("from sqlalchemy.dialects.postgresql import insert", "sqlalchemy.dialects.postgresql.insert"),
    ("from sqlalchemy.dialects import mysql, postgresql", "sqlalchemy.dialects.postgresql"),
    ("import psycopg2", "psycopg2"),
    ("from psycopg2 import errorcodes", "psycopg2.errorcodes"),
    ("Index('a', 'b', postgresql_where=c)", "postgresql_where"),
]
OF_ALL = [
    "from sqlalchemy import func, select\nselect(func.count(), func.coalesce(a, b)).where(a.in_(c))",
    "from app.texts import text\ntext('a')",
    "response.text",
    "select(Task).with_for_update(skip_locked=True)",
    "def wrap(func):\n    return func.greatest",
    "from sqlalchemy import Text, update\nupdate(Task).where(Task.id == 1).values(name='a')",
]
# Beside those of one engine.
OF_THE_OTHERS = [
    "from sqlalchemy.dialects import mysql, sqlite",
    "sqlite.insert(table).on_conflict_do_nothing()",
    "from sqlalchemy import func\nfunc.concat(1, 2)",
]


class TestTheRules:
    def test_find_what_not_every_engine_has(self) -> None:
        sources = [*OF_ONE_ENGINE, *OF_POSTGRESQL_ALONE]
        assert_none(
            f"not found: {source}" for source, found in sources if found not in without_lines(engine_only(source))
        )

    def test_find_what_is_of_postgresql_alone(self) -> None:
        sources = [*OF_POSTGRESQL_ALONE, ("func.count().filter(Task.id == 1)", ".filter()")]
        assert_none(
            f"not found: {source}" for source, found in sources if found not in without_lines(postgresql_only(source))
        )

    def test_let_the_rest_through(self) -> None:
        assert_none(f"{found} in {source}" for source in OF_ALL for found in engine_only(source))
        portable = [*OF_ALL, *OF_THE_OTHERS, *(source for source, _ in OF_ONE_ENGINE)]
        assert_none(f"{found} in {source}" for source in portable for found in postgresql_only(source))


def without_lines(found: list[str]) -> list[str]:
    return [each.partition(": ")[2] for each in found]
