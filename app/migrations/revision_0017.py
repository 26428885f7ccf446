"""Takes over a database of revision 0017, which the migrations before the baseline have made.

Its tables are compared with those of the baseline: columns, types, defaults, constraints and indexes, in any order.
Functions and triggers are not compared. They are dropped, and created as the baseline has them.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import sqlalchemy as sa
from alembic.util import CommandError

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.baselines import BASELINE, execute, name_of_table, read_statements

# As Alembic says what it does.
logger = logging.getLogger("alembic.runtime.migration")
# By the name of a table: its parts, each as a line.
Tables = dict[str, set[str]]

# Those of 0017. With a function of PostgreSQL go its triggers.
_FUNCTIONS = (
    *("tasks_guard", "tasks_count", "tasks_uncount", "tasks_count_forget", "tasks_held", "tasks_limited", "waits_for"),
    *("task_count_changes_fold", "audit_events_append_only"),
)
_TRIGGERS = (
    *("users_delete_tasks", "tasks_guard", "tasks_count_inserted", "tasks_count_updated", "tasks_count_ended"),
    *("tasks_count_left", "tasks_count_stayed", "tasks_count_deleted"),
    *("audit_events_no_update", "audit_events_no_delete", "audit_events_no_replace"),
)
OF_TABLES = re.compile("CREATE TABLE |CREATE (UNIQUE )?INDEX |ALTER TABLE [a-z_]+ ADD ")
_SHOWN_DIFFERENCES, _SHOWN_CHARACTERS = 3, 150


def take_over(connection: sa.Connection) -> None:
    """Bring the database from 0017 to the baseline. Raises CommandError if its tables differ."""
    engine = connection.dialect.name
    of_tables: list[str] = []
    others: list[str] = []
    for statement in read_statements(connection.dialect):
        (of_tables if OF_TABLES.match(statement) else others).append(statement)
    found, wanted = _DESCRIBE[engine](connection, of_tables)
    if differences := list(_compare(found, wanted)):
        shown = "; ".join(differences[:_SHOWN_DIFFERENCES])
        more = f"; and {len(differences) - _SHOWN_DIFFERENCES} more" if len(differences) > _SHOWN_DIFFERENCES else ""
        raise CommandError(
            f"the tables are not those of migration 0017: {shown}{more}: change them and repeat this, "
            "or copy the rows into a database that this code has created"
        )
    logger.info("Running upgrade 0017 -> %s, the same tables with the triggers of this code", BASELINE)
    _REPLACE_TRIGGERS[engine](connection, others)
    connection.execute(sa.text("UPDATE alembic_version SET version_num = :to").bindparams(to=BASELINE))
    if engine != SQLITE:  # which takes all revisions in one transaction
        connection.commit()


def _compare(found: Tables, wanted: Tables) -> Iterator[str]:
    for table, parts in sorted(wanted.items()):
        if table not in found:
            yield f"there is no {table}"
            continue
        yield from (f"{table} lacks `{each[:_SHOWN_CHARACTERS]}`" for each in sorted(parts - found[table]))
        yield from (f"{table} has `{each[:_SHOWN_CHARACTERS]}`" for each in sorted(found[table] - parts))


def _by_table(parts: Iterable[tuple[str, str]]) -> Tables:
    tables: Tables = defaultdict(set)
    for table, part in parts:
        tables[table].add(" ".join(part.split()))
    return tables


# -- PostgreSQL: the baseline is created as temporary tables, which the catalogue describes in the same words ----------

_CATALOGUE = """
WITH tables AS (SELECT oid, relname, reloptions FROM pg_class WHERE relkind = 'r' AND relnamespace = {schema})
SELECT relname, concat_ws(' ', attname, format_type(atttypid, atttypmod),
    CASE WHEN attcollation <> typcollation THEN 'COLLATE ' || attcollation::regcollation END,
    CASE WHEN attnotnull THEN 'NOT NULL' END,
    'DEFAULT ' || pg_get_expr(adbin, adrelid, true), nullif(concat(attidentity, attgenerated), ''))
FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
JOIN pg_type ON pg_type.oid = atttypid LEFT JOIN pg_attrdef ON adrelid = tables.oid AND adnum = attnum
UNION ALL
SELECT relname, concat_ws(' ', 'CONSTRAINT', conname, pg_get_constraintdef(pg_constraint.oid, true))
FROM tables JOIN pg_constraint ON conrelid = tables.oid AND contype IN ('c', 'f', 'p', 'u', 'x')
UNION ALL
SELECT relname, pg_get_indexdef(indexrelid, 0, true) || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END
FROM tables JOIN pg_index ON indrelid = tables.oid
UNION ALL
SELECT relname, 'WITH ' || (SELECT string_agg(option, ', ' ORDER BY option) FROM unnest(reloptions) AS option)
FROM tables WHERE reloptions IS NOT NULL
"""


def _describe_on_postgresql(connection: sa.Connection, of_tables: list[str]) -> tuple[Tables, Tables]:
    found = _read_catalogue(connection, "current_schema()::regnamespace")
    beside = connection.begin_nested()
    execute(connection, "SET LOCAL search_path = pg_temp")
    for statement in of_tables:
        execute(connection, statement)
    wanted = _read_catalogue(connection, "pg_my_temp_schema()")
    beside.rollback()
    return found, wanted


def _read_catalogue(connection: sa.Connection, schema: str) -> Tables:
    return _by_table((table, part) for table, part in connection.exec_driver_sql(_CATALOGUE.format(schema=schema)))


def _replace_on_postgresql(connection: sa.Connection, others: list[str]) -> None:
    for statement in (f"DROP FUNCTION IF EXISTS {', '.join(_FUNCTIONS)} CASCADE", *others):
        execute(connection, statement)


# -- MySQL: the same; but a temporary table has no foreign keys, so these are read from the statements -----------------

_FOREIGN_KEY = re.compile(r",\s+(CONSTRAINT \w+ FOREIGN KEY)(.+?)(?=,?\n)")
# Which a dump writes, or the server.
_NOISE = re.compile("`|CHARACTER SET utf8mb4 | AUTO_INCREMENT=[0-9]+")


def _describe_on_mysql(connection: sa.Connection, of_tables: list[str]) -> tuple[Tables, Tables]:
    there = sa.inspect(connection).get_table_names()
    found = _by_table((table, part) for table in there for part in _show_table(connection, table))
    wanted: Tables = {}
    for statement in of_tables:
        execute(connection, _FOREIGN_KEY.sub("", statement).replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1))
        if table := name_of_table(statement):
            wanted[table] = {f"{key} {columns}" for key, columns in _FOREIGN_KEY.findall(statement)}
    for table, parts in wanted.items():
        parts.update(_show_table(connection, table))
        execute(connection, f"DROP TEMPORARY TABLE {table}")
    return found, wanted


def _show_table(connection: sa.Connection, table: str) -> list[str]:
    _, made = connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()
    lines = (_NOISE.sub("", line).strip(" ,") for line in made.splitlines()[1:])
    return [line for line in lines if not line.startswith("KEY fk_")]  # which the server makes for a foreign key


def _replace_on_mysql(connection: sa.Connection, others: list[str]) -> None:
    """While nobody else writes to these tables, since each statement is committed by itself."""
    _check_that_triggers_can_be_created(connection)
    execute(connection, "LOCK TABLES users WRITE, tasks WRITE, audit_events WRITE")
    try:
        _replace(connection, others)
    finally:
        execute(connection, "UNLOCK TABLES")


def _check_that_triggers_can_be_created(connection: sa.Connection) -> None:
    """Raises DBAPIError, before a trigger is dropped."""
    name = "alembic_version_trial"
    execute(connection, f"CREATE TRIGGER {name} BEFORE DELETE ON alembic_version FOR EACH ROW SET @trial = 1")
    execute(connection, f"DROP TRIGGER {name}")


def _replace(connection: sa.Connection, others: list[str]) -> None:
    for statement in (*(f"DROP TRIGGER IF EXISTS {name}" for name in _TRIGGERS), *others):
        execute(connection, statement)


# -- SQLite: it keeps the text of each statement -----------------------------------------------------------------------


def _describe_on_sqlite(connection: sa.Connection, of_tables: list[str]) -> tuple[Tables, Tables]:
    found = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
    )
    return _by_table(_parts(found.scalars())), _by_table(_parts(of_tables))


def _parts(of_tables: Iterable[str]) -> Iterator[tuple[str, str]]:
    for statement in of_tables:
        if table := name_of_table(statement):
            yield from ((table, line.strip("\t ,")) for line in statement.splitlines())
        else:
            yield re.findall(r" ON (\w+)", statement)[0], statement


_DESCRIBE: dict[str, Callable[[sa.Connection, list[str]], tuple[Tables, Tables]]] = {
    POSTGRESQL: _describe_on_postgresql, MYSQL: _describe_on_mysql, SQLITE: _describe_on_sqlite,
}  # fmt: skip
_REPLACE_TRIGGERS: dict[str, Callable[[sa.Connection, list[str]], None]] = {
    POSTGRESQL: _replace_on_postgresql, MYSQL: _replace_on_mysql, SQLITE: _replace,
}  # fmt: skip
