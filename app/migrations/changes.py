"""What a revision needs beside Alembic's `op`: the same file changes every engine.

A revision executes nothing that a later change of the code would change: its SQL stands in its own file. Types of
columns are those of `app/ddl/columns.py`, and `NOW` of `app/ddl/clock.py`.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations
from alembic.util import CommandError
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.baselines import execute

logger = logging.getLogger(__name__)


def execute_for_engine(statements: Mapping[str, Iterable[str]]) -> None:
    """Execute the statements of this database's engine: `{POSTGRESQL: …, MYSQL: …, SQLITE: …}`. For triggers."""
    connection = op.get_bind()
    for statement in statements[connection.dialect.name]:
        execute(connection, statement)


@contextmanager
def change_table(name: str, *, sqlite_autoincrement: bool | None = None) -> Iterator[BatchOperations]:
    """Change columns and constraints of a table.

    SQLite can add a column to a table (`op.add_column`), and nothing else. So the table is made anew, and its rows are
    copied. Its indexes and triggers, and the triggers of other tables that name it, are created again as they stand in
    the database: those that a change concerns are dropped before, and created after.

    `sqlite_autoincrement`: whether SQLite uses no id again, not even the last one that is deleted; None leaves that as
    it is.
    """
    connection = op.get_bind()
    if connection.dialect.name != SQLITE:
        with op.batch_alter_table(name) as table:
            yield table
        return
    if connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
        raise CommandError(f"the rows that refer to {name} would be deleted: foreign_keys must be OFF")
    standing_on_it = _read_standing_on(connection, name)
    last_id = _read_last_id(connection, name)
    if sqlite_autoincrement is None:
        sqlite_autoincrement = last_id is not None
    for kind, dropped, _ in standing_on_it:
        execute(connection, f'DROP {kind} "{dropped}"')
    options = {"sqlite_autoincrement": sqlite_autoincrement}
    with op.batch_alter_table(name, recreate="always", table_kwargs=options) as table:
        yield table
    if sqlite_autoincrement and last_id is not None:  # SQLite forgets it with the table
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, last_id))
    for _, _, created in standing_on_it:
        execute(connection, created)
    if lost := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise CommandError(f"a row of {lost[0]} refers to a row that is not there in {lost[2]}")


def create_index(name: str, table: str, columns: Sequence[str | sa.TextClause], **options: Any) -> None:
    """Create an index while processes write. `options` are those of Alembic's `op.create_index`.

    On PostgreSQL concurrently, which waits for transactions that use the table, and keeps none waiting
    (https://www.postgresql.org/docs/18/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY). That is outside a
    transaction: what stands before it in the revision is committed, and has to bear a repetition. In an empty database,
    which is migrated as a whole, nobody writes.
    """
    context = op.get_context()
    if op.get_bind().dialect.name != POSTGRESQL or not context.opts["transaction_per_migration"]:
        op.create_index(name, table, columns, **options)
        return
    with context.autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)  # of a try that was given up
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def _read_standing_on(connection: sa.Connection, table: str) -> list[tuple[str, str, str]]:
    """Return kind, name and text of each index and trigger that SQLite would lose or refuse with the table."""
    found = connection.exec_driver_sql(
        "SELECT type, name, sql, tbl_name FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    )
    names_it = re.compile(rf"\b{table}\b", re.IGNORECASE)
    return [
        (kind, name, made)
        for kind, name, made, its in found
        if its == table or (kind == "trigger" and names_it.search(made))
    ]


def _read_last_id(connection: sa.Connection, table: str) -> int | None:
    """Return the highest id that a table of SQLite has ever given, 0 for none; None if it may give it again."""
    made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
    if "AUTOINCREMENT" not in made.scalar_one():
        return None
    return connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).scalar() or 0


@contextmanager
def repeatable() -> Iterator[None]:
    """Pass over the steps that have been done, on MySQL and MariaDB. Around each `upgrade` and `downgrade`.

    They commit each statement that changes a table: a revision that was stopped, by a lock or a kill, stays half done.
    When it is repeated, the server says of its first steps that there already is what they create, or no more what they
    drop. Each statement makes one change, so it is done or not. What changes rows has to bear a repetition by itself.
    The other engines take back all of it, and there such an error is one.
    """
    connection = op.get_bind()
    if connection.dialect.name != MYSQL:
        yield
        return
    for name, listener in _LISTENERS.items():
        sa.event.listen(connection.engine, name, listener)
    try:
        yield
    finally:
        for name, listener in _LISTENERS.items():
            sa.event.remove(connection.engine, name, listener)


# A table, column, index, primary key or trigger that is there, or is not, or a constraint that is not.
_DONE = {1050, 1060, 1061, 1068, 1359, 1051, 1091, 1360, 3821, 3940}
# A constraint of this name is there, of this or of another table: a new table that has it was not created.
_HAS_CONSTRAINT = {1826, 3822}
_NO_TABLE, _TABLE_NOT_CREATED, _DUPLICATE_KEY = 1146, 1005, "errno: 121"


def _execute_unless_done(cursor: DBAPICursor, statement: str, parameters: Any, context: ExecutionContext) -> bool:
    try:
        cursor.execute(statement, parameters)
    except context.dialect.loaded_dbapi.Error as error:
        if not _says_that_it_is_done(statement, *error.args[:2]):
            raise
        logger.warning("a step of the migration was done before, and is passed over (%s): %s", error, statement)
    return True  # nobody else is to execute it


def _execute_unless_done_as_it_stands(cursor: DBAPICursor, statement: str, context: ExecutionContext) -> bool:
    return _execute_unless_done(cursor, statement, None, context)


_LISTENERS: Mapping[str, Callable[..., bool]] = {
    "do_execute": _execute_unless_done,
    "do_execute_no_params": _execute_unless_done_as_it_stands,
}


def _says_that_it_is_done(statement: str, number: object = None, message: str = "") -> bool:
    if number == _NO_TABLE:  # the index has gone with its table
        return statement.lstrip().startswith("DROP INDEX ")
    if number in _HAS_CONSTRAINT or (number == _TABLE_NOT_CREATED and _DUPLICATE_KEY in message):  # the latter: MariaDB
        return statement.lstrip().startswith("ALTER TABLE ")
    return number in _DONE


def copy_grants(table: str, new: str) -> None:
    """Let every role of PostgreSQL which may update `table` read and change the table `new`.

    The service's own role is one of them: a trigger on `table` writes `new` with that role's privileges, from the first
    statement after the migration on.
    """
    if op.get_bind().dialect.name == POSTGRESQL:
        execute(op.get_bind(), _COPY_GRANTS.format(table=table, new=new))


_COPY_GRANTS = """
DO $$
DECLARE grantee text;
BEGIN
    FOR grantee IN
        SELECT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
        FROM pg_class AS c, aclexplode(c.relacl) AS acl
        WHERE c.oid = '{table}'::regclass AND acl.privilege_type = 'UPDATE' AND acl.grantee <> c.relowner
    LOOP
        EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON {new} TO ' || grantee;
    END LOOP;
END
$$
"""
