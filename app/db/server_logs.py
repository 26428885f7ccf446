"""Tells at a start if the database server may write values of tasks into its own log."""

import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db.outage import first_line
from app.db.postgresql.schema.server_logs import exposing_settings

logger = logging.getLogger(__name__)


def tell_of_values_in_logs(engine: Engine) -> None:
    """Warn in one line, with the settings to change, if statements and their values reach the server's log."""
    if engine.dialect.name != "postgresql":
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
