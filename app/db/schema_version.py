"""Compares the schema of the database with the migrations of the code, and creates the schema of an empty database."""

import ast
import logging
import re
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

import app
from app.core.config import Settings
from app.db.server_logs import tell_of_values_in_logs
from app.db.server_version import version_fault
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
_VERSION = table("alembic_version", column("version_num"))


def schema_fault() -> str | None:
    """Return what is wrong with the server or the schema and what to do, in one line; None if it is that of the code.

    Raises SQLAlchemyError if the database does not answer, Unavailable without DATABASE_URL.
    """
    return _server_fault() or _compare()[0]


def _server_fault() -> str | None:
    with engine().connect() as connection:
        return version_fault(connection)


def _compare() -> tuple[str | None, bool]:
    """Return what is wrong, and whether the code can work all the same: on the schema of a newer version."""
    with engine().connect() as connection:
        version = read_version(connection)
    head, known = read_revisions()
    if version == head:
        return None, True
    return fault_of_version(version), version is not None and version not in known.union(BEFORE_THE_BASELINE)


def read_version(connection: Connection) -> str | None:
    """Return the migration that the database is at."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(select(_VERSION.c.version_num))


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
        fault, works = _compare()
        if works:
            tell_of_values_in_logs(engine())
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
    found = [_read(path) for path in _MIGRATIONS.glob("*.py")]
    (head,) = {revision for revision, _ in found} - {before for _, before in found}
    return head, frozenset(revision for revision, _ in found)


def _read(path: Path) -> tuple[str, str | None]:
    """Return a migration's revision and the one before it."""
    assigned = dict(_REVISION.findall(path.read_text(encoding="utf-8")))
    return ast.literal_eval(assigned["revision"]), ast.literal_eval(assigned["down_revision"])
