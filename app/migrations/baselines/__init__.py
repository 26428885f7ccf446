"""The schema of MySQL and of SQLite as of revision BASELINE, in the place of the migrations before: a file for each.

PostgreSQL was the only engine until then. Every later migration is written for all engines.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.core.engines import MYSQL
from app.db.columns import COLLATION_OF_MYSQL, mysql_collation

BASELINE = "0017"
# Between two statements. A trigger's body has semicolons.
SEPARATOR = "\n;;\n"

Plan = Callable[[Any, MigrationContext], Iterable[MigrationStep]]


def beginning_there(plan: Plan, script: ScriptDirectory) -> Plan:
    """What an Alembic command does (`plan`), with one step that creates the baseline for the migrations up to it.

    It raises CommandError for a command that leads to a schema before.
    """

    def steps(heads: Any, migration: MigrationContext) -> list[MigrationStep]:
        planned = list(plan(heads, migration))
        early = [step for step in planned if isinstance(step, RevisionStep) and step.revision.revision <= BASELINE]
        if not early:
            return planned
        if heads:
            raise CommandError(
                f"on this engine the schema begins at migration {BASELINE}: "
                "there is none before it, and to remove the schema means to drop the database"
            )
        (first,) = script._stamp_revs(BASELINE, ())  # noqa: SLF001 (there is no public step but by a file)
        connection = migration.connection
        assert connection is not None  # nosec B101 - offline migrations are refused

        def baseline(**_: Any) -> None:
            create(connection)

        first.migration_fn, first.doc = baseline, "all tables, indexes and triggers"  # as the log names them
        return [first, *plan((BASELINE,), migration)]

    return steps


def create(connection: Connection) -> None:
    """Create all tables, indexes and triggers in an empty database, or nothing at all."""
    text = Path(__file__).with_name(f"{connection.dialect.name}.sql").read_text(encoding="utf-8")
    if connection.dialect.name == MYSQL:  # whose driver formats with %
        text = text.replace("%", "%%").replace(COLLATION_OF_MYSQL, mysql_collation(connection.dialect))
    tables: list[str] = []
    try:
        for statement in text.split(SEPARATOR):
            connection.exec_driver_sql(statement)
            tables += re.findall(r"\ACREATE TABLE (\w+)", statement)
    except DBAPIError:
        # MySQL commits each statement. SQLite takes all of them back.
        if connection.dialect.name == MYSQL:
            for table in reversed(tables):
                connection.exec_driver_sql(f"DROP TABLE {table}")
        raise
