"""A write that changes nothing: it tells a database that only answers reads from one that takes tasks."""

from sqlalchemy import Connection, update

from app.core.engines import SQLITE
from app.db.connecting import of
from app.db.connecting.sqlite import brief_lock_waits
from app.models.worker import MaintenanceLease

_SAME = update(MaintenanceLease).values(renewed_at=MaintenanceLease.renewed_at)


def write(connection: Connection, lock_seconds: float) -> None:
    """Write in this transaction, and wait so long for another one. Raises DBAPIError, some engines at the commit."""
    if connection.dialect.name != SQLITE:
        of(connection.dialect.name).limit_lock_waits(connection, lock_seconds)
        connection.execute(_SAME)
        return
    with brief_lock_waits(connection, lock_seconds):
        connection.execute(_SAME)
    # SQLite does not write a row that stays as it is, so it would not see that the disk is full. Nothing else uses this
    # number of the file's first page (https://www.sqlite.org/pragma.html#pragma_user_version).
    number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {1 - number % 2}")
