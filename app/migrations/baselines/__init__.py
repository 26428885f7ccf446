"""The schema with which the migrations begin: a file of SQL for each engine.

`python -m tests.support.baselines --write` wrote them from the models, where no later revision was there.
"""

import re
from pathlib import Path

import sqlalchemy as sa

from app.core.engines import MYSQL
from app.ddl.columns import COLLATION_OF_MYSQL, mysql_collation

BASELINE = "0040"
NO_WAY_BELOW = f"the schema begins at migration {BASELINE}: to remove it means to drop the database"
# Between two statements. The body of a trigger has semicolons.
SEPARATOR = "\n;;\n"

_TABLE = re.compile(r"\ACREATE TABLE (\w+)")


def read_statements(dialect: sa.Dialect) -> list[str]:
    """Return the statements that create all tables, indexes, functions and triggers."""
    text = Path(__file__).with_name(f"{dialect.name}.sql").read_text(encoding="utf-8")
    if dialect.name == MYSQL:
        text = text.replace(COLLATION_OF_MYSQL, mysql_collation(dialect))
    return text.removesuffix("\n").split(SEPARATOR)


def name_of_table(statement: str) -> str | None:
    """Return the name of the table which this statement creates."""
    found = _TABLE.match(statement)
    return found and found[1]


def execute(connection: sa.Connection, statement: str) -> None:
    """Send the statement as it stands: to drivers that format with %, one with parameters would need %%."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def create_all(connection: sa.Connection) -> None:
    """Create the schema in an empty database, or nothing at all."""
    tables: list[str] = []
    try:
        for statement in read_statements(connection.dialect):
            execute(connection, statement)
            tables += filter(None, [name_of_table(statement)])
    except sa.exc.DBAPIError:
        # MySQL commits each statement. The other engines take all of them back.
        if connection.dialect.name == MYSQL:
            for table in reversed(tables):
                execute(connection, f"DROP TABLE {table}")
        raise
