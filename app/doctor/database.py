"""The database: whether it takes writes, its version, its schema, the privileges of this role, its clock."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.core.redacted_text import redact_text
from app.db.compatibility import newer_schema, read_revisions, server_name, version_fault
from app.db.session import autocommit_engine, engine
from app.db.statements.probes import missing_privileges
from app.ddl.clock import NOW
from app.doctor import findings
from app.doctor.findings import Finding, fail, ok, told, warn
from app.errors import Text
from app.services import health_service
from app.services.health_service import OK

# So many missing privileges are named.
SHOWN = 5


def check_reachable() -> Iterator[Finding]:
    """Connect and write."""
    shown = redact_text(engine().url.render_as_string())
    try:
        with engine().connect():  # its error tells more than the state
            state = health_service.check_database()
    except SQLAlchemyError as error:
        state = told(error)
    if state == OK:
        yield ok(Text("{} answers and takes writes", shown))
    else:
        yield fail(Text("{}: {}", shown, state), Text("start the database, or correct DATABASE_URL"))


def check_version() -> Iterator[Finding]:
    """Compare the server's version and options with what the service needs."""
    with engine().connect() as connection:
        fault = version_fault(connection)
        seen = server_name(connection)
    yield ok(Text("{}", seen)) if fault is None else fail(Text("{}", fault), Text("docs/servers.md lists the servers"))


def check_migrations() -> Iterator[Finding]:
    """Compare the schema with the migrations of this code."""
    state = health_service.check_migrations()
    if state != OK:
        yield fail(Text("{}", state))
    elif (newer := newer_schema()) is not None:
        yield warn(Text("{}", newer))
    else:
        yield ok(Text("at {}, the newest", read_revisions()[0]))


def check_privileges() -> Iterator[Finding]:
    """Try each kind of statement on each table, without a row."""
    with autocommit_engine().connect() as connection:
        missing = missing_privileges(connection)
    if not missing:
        yield ok(Text("this role may read and write the tables of the service"))
        return
    shown = ", ".join(missing[:SHOWN]) + (" …" if len(missing) > SHOWN else "")
    yield fail(
        Text("{} privileges are missing: {}", len(missing), shown),
        Text("run `python -m app grant ROLE` with the DATABASE_URL of the role that owns the tables"),
    )


def check_clock() -> Iterator[Finding]:
    """Compare its clock with this machine's."""

    def ask() -> datetime:
        asked: datetime = connection.execute(select(NOW)).scalar_one()
        return asked

    with engine().connect() as connection:
        yield from findings.compare_clocks(ask)
