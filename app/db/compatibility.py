"""Tells whether the code can use a database server and its schema, and creates the schema of an empty one.

Compares the schema with the migrations of the code, without Alembic, which would take memory in each process. Warns at
a start if the log of PostgreSQL itself may hold values of tasks.
"""

import ast
import logging
import re
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, column, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

import app
from app.core.config import Settings
from app.core.engines import POSTGRESQL
from app.db.connections import mysql
from app.db.outage import first_line
from app.db.session import engine

logger = logging.getLogger(__name__)

REMEDY = "run `alembic upgrade head` (`task-service-server migrate` where the package is installed)"
LOOK_SECONDS = 2.0
REPEAT_SECONDS = 60.0
# The revisions before the baseline, and the last commit that has them. None of them was released.
BEFORE_THE_BASELINE = frozenset(f"{number:04}" for number in range(1, 40))
_LAST_COMMIT_BEFORE = "0715a69"

_MIGRATIONS = Path(app.__file__).parent / "migrations" / "versions"
_REVISION = re.compile(r"^(revision|down_revision)\b[^=\n]*=(.+)$", re.MULTILINE)
_ALEMBIC_VERSION = table("alembic_version", column("version_num"))


def schema_fault() -> str | None:
    """Return why the code cannot work on the server or the schema, and what to do, in one line; None if it can.

    Raises SQLAlchemyError if the database does not answer, Unavailable without DATABASE_URL.
    """
    if (too_old := _server_fault()) is not None:
        return too_old
    fault, works = _compare_schema()
    return None if works else fault


def newer_schema() -> str | None:
    """Return in one line that the schema is that of a newer version; None otherwise. Raises as `schema_fault`."""
    fault, works = _compare_schema()
    return fault if works else None


def _server_fault() -> str | None:
    with engine().connect() as connection:
        return version_fault(connection)


def _compare_schema() -> tuple[str | None, bool]:
    """Return what is wrong, and whether the code can work all the same: on the schema of a newer version."""
    with engine().connect() as connection:
        version = read_version(connection)
    head, known = read_revisions()
    if version == head:
        return None, True
    return fault_of_version(version), version is not None and version not in known.union(BEFORE_THE_BASELINE)


def read_version(connection: Connection) -> str | None:
    """Return the migration that the database is at."""
    if not inspect(connection).has_table(_ALEMBIC_VERSION.name):
        return None
    return connection.scalar(select(_ALEMBIC_VERSION.c.version_num))


def fault_of_version(version: str | None) -> str:
    """Return what is to be done about a database at this migration, which is not the newest, in one line."""
    head, known = read_revisions()
    if version is None:
        return f"the database is not migrated: {REMEDY}"
    if version in BEFORE_THE_BASELINE:
        return f"the database is at migration {version}: migrate it with the code of commit {_LAST_COMMIT_BEFORE} first"
    if version in known:
        return f"the database is at migration {version}, the code needs {head}: {REMEDY}"
    return f"the database is at migration {version}, which this code does not know: deploy the newer code"


class OncePerMinute:
    """Whether a text is to be logged: a new one at once, the same one again after REPEAT_SECONDS."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def is_due(self, text: str) -> bool:
        now = time.monotonic()
        if now < self._next.get(text, now):
            return False
        self._next = {each: at for each, at in self._next.items() if at > now} | {text: now + REPEAT_SECONDS}
        return True


class SchemaPreparation:
    """What a process does about the schema at its start. It asks again while there is a fault."""

    def __init__(self, settings: Settings) -> None:
        self._may_create = settings.app_env != "production"
        self._failure = ""
        self._next_try = 0.0

    def fault(self) -> str | None:
        """Outside of production, create the schema of an empty database. Raises what `schema_fault` raises.

        Returns why the code cannot work on the server or the schema, and what to do, or None.

        Several processes may start at once: Alembic's environment holds a lock, and the second one finds nothing to do.
        After a failure it is tried again once in REPEAT_SECONDS, since each try costs a process.
        """
        if (too_old := _server_fault()) is not None:
            return too_old
        fault, works = _compare_schema()
        if works:
            warn_of_values_in_logs(engine())
            if fault is not None:  # while a deploy replaces one process after another, or after a rollback
                logger.warning("%s", fault)
            return None
        if not self._may_create or inspect(engine()).get_table_names():
            return fault
        if time.monotonic() < self._next_try:
            return self._failure
        logger.info("the database is empty: creating its schema")
        # In a process of its own, since Alembic would take memory in each process of the service.
        done = subprocess.run([sys.executable, "-m", "app", "migrate"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return schema_fault()
        self._failure = f"the database cannot be migrated: {done.stderr.strip().rpartition(chr(10))[2]}"
        self._next_try = time.monotonic() + REPEAT_SECONDS
        return self._failure


def await_schema(settings: Settings) -> None:
    """Return once the code can use the schema, or if the database does not answer. Logs the fault once a minute.

    A database that is down is no reason to wait: everything else here goes on without it, and finds it again.
    """
    preparation, told = SchemaPreparation(settings), OncePerMinute()
    while True:
        try:
            fault = preparation.fault()
        except SQLAlchemyError:
            return
        if fault is None:
            return
        if told.is_due(fault):
            logger.warning("waiting: %s", fault)
        time.sleep(LOOK_SECONDS)


@lru_cache(maxsize=1)
def read_revisions() -> tuple[str, frozenset[str]]:
    """Return the newest migration and all of them. Read from the files, because Alembic is not loaded here."""
    found = [_read_revision(path) for path in _MIGRATIONS.glob("*.py")]
    (head,) = {revision for revision, _ in found} - {before for _, before in found}
    return head, frozenset(revision for revision, _ in found)


def _read_revision(path: Path) -> tuple[str, str | None]:
    """Return a migration's revision and the one before it."""
    assigned = dict(_REVISION.findall(path.read_text(encoding="utf-8")))
    return ast.literal_eval(assigned["revision"]), ast.literal_eval(assigned["down_revision"])


# -- Faults of a server: it is too old, unsafe, or takes no writes of the service --------------------------------------
# The settings refuse an old SQLite, which is a library.

# By SQLAlchemy's name of the dialect, and for MariaDB of its own. PostgreSQL 17 is the first with
# uuid_extract_timestamp(), MySQL 8.0.19 that with `VALUES … AS new`, MariaDB 10.6 that with SKIP LOCKED.
OLDEST_SERVERS = {"postgresql": ("PostgreSQL", (17,)), "mysql": ("MySQL", (8, 0, 19)), "mariadb": ("MariaDB", (10, 6))}

# From here on MySQL itself checks foreign keys, unless it is told to have InnoDB check them: 9.7.4 stores tasks whose
# user is not there. The option is deprecated: a later version without it is accepted, as any unknown one.
_OWN_FOREIGN_KEYS = (9, 6)


def server_name(connection: Connection) -> str:
    """Return the product and the version of the server, such as `PostgreSQL 18.1`."""
    name, _ = _product(connection)
    return f"{name or connection.dialect.name} {_dotted(_version_of(connection))}"


def version_fault(connection: Connection) -> str | None:
    """Return which version or option is needed and which one is there, in one line; None if the server can be used."""
    dialect = connection.dialect
    name, oldest = _product(connection)
    if _version_of(connection) < oldest:
        dialect.initialize(connection)  # a process that waits would not notice that the server has been upgraded
    version = _version_of(connection)
    if version < oldest:
        return f"{name} {_dotted(oldest)} or newer is needed, not {_dotted(version)}"
    if name == "MySQL" and version >= _OWN_FOREIGN_KEYS and not mysql.checks_foreign_keys_by_innodb(connection):
        return (
            f"MySQL {_dotted(version)} does not check every foreign key: start it with --innodb-native-foreign-keys=ON"
        )
    if dialect.name == "mysql" and mysql.logs_statements(connection):
        return "binlog_format=STATEMENT refuses every write of the service: set it to ROW or MIXED"
    return None


def _product(connection: Connection) -> tuple[str, tuple[int, ...]]:
    dialect = connection.dialect
    return OLDEST_SERVERS.get("mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name, ("", ()))


def _version_of(connection: Connection) -> tuple[Any, ...]:
    """Return the version as it was when this process connected first."""
    return connection.dialect.server_version_info or ()


def _dotted(version: tuple[Any, ...]) -> str:
    return ".".join(map(str, version)) or "an unknown version"


# -- Values of tasks in PostgreSQL's own log: psycopg2 puts them into the statements -----------------------------------

# From these levels on, a session's failed statements, slow statements and messages that quote values stay out of the
# log: https://www.postgresql.org/docs/18/runtime-config-logging.html#GUC-LOG-MIN-MESSAGES
_SAFE_LOG_SETTINGS = {
    "log_min_messages": {"fatal", "panic"},
    "log_min_error_statement": {"panic"},
    # The postmaster names the statement of a crashed session in a message's detail.
    "log_error_verbosity": {"terse"},
}
_SERVER_SETTINGS = table("pg_settings", column("name"), column("setting"))


def warn_of_values_in_logs(engine: Engine) -> None:
    """Warn in one line, with the settings to change, if statements and their values reach the server's log."""
    if engine.dialect.name != POSTGRESQL:
        return
    try:
        with engine.connect() as connection:
            exposing = exposing_log_settings(connection)
    except SQLAlchemyError as error:
        logger.warning("the settings of the database's log are not known: %s", first_line(error))
        return
    if exposing:
        logger.warning(
            "the database's log may hold passwords and other values of tasks (%s): see `Values in the server's log` in "
            "docs/servers.md",
            ", ".join(f"{name}={value}" for name, value in exposing.items()),
        )


def exposing_log_settings(connection: Connection) -> dict[str, str]:
    """Return the settings of this session, by name, that let values of statements reach the server's log."""
    rows = connection.execute(
        select(_SERVER_SETTINGS)
        .where(_SERVER_SETTINGS.c.name.in_(_SAFE_LOG_SETTINGS))
        .order_by(_SERVER_SETTINGS.c.name)
    )
    return {name: setting for name, setting in rows if setting not in _SAFE_LOG_SETTINGS[name]}
