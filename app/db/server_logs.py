"""Tells at a start if PostgreSQL may write values of tasks into its own log: psycopg2 puts them into the statements."""

import logging

from sqlalchemy import Connection, Engine, column, select, table
from sqlalchemy.exc import SQLAlchemyError

from app.core.engines import POSTGRESQL
from app.db.outage import first_line

logger = logging.getLogger(__name__)

# From these levels on, a session's failed statements, slow statements and messages that quote values stay out of the
# log: https://www.postgresql.org/docs/18/runtime-config-logging.html#GUC-LOG-MIN-MESSAGES
_SAFE = {
    "log_min_messages": {"fatal", "panic"},
    "log_min_error_statement": {"panic"},
    # The postmaster names the statement of a crashed session in a message's detail.
    "log_error_verbosity": {"terse"},
}
_SETTINGS = table("pg_settings", column("name"), column("setting"))


def tell_of_values_in_logs(engine: Engine) -> None:
    """Warn in one line, with the settings to change, if statements and their values reach the server's log."""
    if engine.dialect.name != POSTGRESQL:
        return
    try:
        with engine.connect() as connection:
            exposing = exposing_settings(connection)
    except SQLAlchemyError as error:
        logger.warning("the settings of the database's log are not known: %s", first_line(error))
        return
    if exposing:
        logger.warning(
            "the database's log may hold passwords and other values of tasks (%s): see `Values in the server's log` in "
            "docs/database-roles.md",
            ", ".join(f"{name}={value}" for name, value in exposing.items()),
        )


def exposing_settings(connection: Connection) -> dict[str, str]:
    """Return the settings of this session, by name, that let values of statements reach the server's log."""
    rows = connection.execute(select(_SETTINGS).where(_SETTINGS.c.name.in_(_SAFE)).order_by(_SETTINGS.c.name))
    return {name: setting for name, setting in rows if setting not in _SAFE[name]}
