"""Statements prepared on autocommit connections: one connection for each worker process, and those of group commits.

Each task costs an insert, a claim and an end. What SQLAlchemy adds to a statement (a checkout, the compiled cache, a
change of the isolation level, which is a round trip, and a result) costs several times as much as psycopg2 itself. A
prepared statement costs PostgreSQL a third (docs/adr/0024). The statements are SQLAlchemy's, its errors are raised, and
the connections come from its engine.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import Connection, Engine, Insert, Select, Update, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.connections.pool import is_usable
from app.db.outage import is_outage
from app.db.session import engine
from app.db.transactions import SET_LOCAL

_DIALECT: Any = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
_PARAMETER = re.compile(r"\$(\d+)")
# A connection pooler may send each statement to another server session, where nothing is prepared.
_NOT_PREPARED_HERE = errorcodes.INVALID_SQL_STATEMENT_NAME
_TRIES = 2

Process = Callable[[Any], Any]
Statement = Insert | Update | Select[Any]


class Prepared:
    """A statement as PostgreSQL prepares it: constants stand in the text, a caller's values are $1, $2, …"""

    def __init__(self, statement: Statement) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        names: list[str] = compiled.positiontup or []
        binds = {name: compiled.binds[name] for name in names}
        given = [name for name in names if binds[name].required]
        place = {name: f"${number}" for number, name in enumerate(given, 1)}

        def put(found: re.Match[str]) -> str:
            name = names[int(found.group(1)) - 1]
            return place.get(name) or _literal(binds[name].value)

        self.text = _PARAMETER.sub(put, str(compiled))
        # Named by its text: behind a pooler, processes of two releases may share a server's session.
        self.name = f"task_service_{hashlib.sha256(self.text.encode()).hexdigest()[:16]}"
        # In one message with the statement: valid for its transaction alone, which a pooler does not split.
        settings: Mapping[str, str] = statement.get_execution_options().get(SET_LOCAL, {})
        local = "".join(f"SET LOCAL {name} = {_literal(value)}; " for name, value in settings.items())
        self.call = f"{local}EXECUTE {self.name}" + (f"({', '.join(['%s'] * len(given))})" if given else "")
        self.inline = local + _PARAMETER.sub(
            lambda found: f"%({given[int(found.group(1)) - 1]})s", self.text.replace("%", "%%")
        )
        self._given = [(name, binds[name].type.bind_processor(_DIALECT)) for name in given]
        self.number, self.parts = len(given), (self,)
        types = [column.type for column in statement.exported_columns]
        # The driver has read JSONB already.
        processes = [None if isinstance(each, JSONB) else each.result_processor(_DIALECT, None) for each in types]
        self._results = [(at, process) for at, process in enumerate(processes) if process is not None]

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        return [parameters[name] if process is None else process(parameters[name]) for name, process in self._given]

    def named(self, values: list[Any]) -> dict[str, Any]:
        return {name: value for (name, _), value in zip(self._given, values, strict=True)}

    def row(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self._results:
            return values
        row = list(values)
        for at, process in self._results:
            row[at] = process(row[at])
        return tuple(row)


def _literal(value: Any) -> str:
    """Return a constant of this code as a SQL literal; never a value of a client."""
    if value is None:
        return "NULL"
    return str(int(value)) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


class Together:
    """Several statements in one message, which is one transaction. Each may name any of the parameters."""

    def __init__(self, parts: tuple[Prepared, ...]) -> None:
        self.parts = parts
        self.name = parts[-1].name
        self.call, self.inline = ("; ".join(texts) for texts in zip(*((p.call, p.inline) for p in parts), strict=True))
        self.row = parts[-1].row

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        return [value for part in self.parts for value in part.values(parameters)]

    def named(self, values: list[Any]) -> dict[str, Any]:
        left = iter(values)
        return {
            name: value for part in self.parts for name, value in part.named(list(islice(left, part.number))).items()
        }


@lru_cache(maxsize=64)
def _prepared(statement: Statement | tuple[Statement, ...]) -> Prepared | Together:
    return Together(tuple(map(Prepared, statement))) if isinstance(statement, tuple) else Prepared(statement)


def build(*statements: Statement) -> None:
    """Compile these before a fork, so that the children need not."""
    for statement in statements:
        _prepared(statement)


class Answer:
    """The result of `PreparedConnection.execute`: rows, read by position."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def all(self) -> list[tuple[Any, ...]]:
        return self._rows

    def one_or_none(self) -> tuple[Any, ...] | None:
        if len(self._rows) > 1:
            raise ValueError(f"{len(self._rows)} rows where there is one at most")
        return self._rows[0] if self._rows else None


class PreparedConnection:
    """A connection whose `execute` works as SQLAlchemy's does, for statements that are built once in a process."""

    def __init__(self, driver: Any, max_idle_seconds: float) -> None:
        self._driver, self._max_idle_seconds = driver, max_idle_seconds
        self._idle_since = time.monotonic()
        self.pid = os.getpid()  # of the owner; read once, since it takes a system call
        self._known: set[str] = set()
        self._may_prepare = True

    def execute(self, statement: Statement | tuple[Statement, ...], parameters: Mapping[str, Any]) -> Answer:
        """One round trip, one transaction; of several statements, the rows are the last one's.

        Raises SQLAlchemy's DBAPIError.
        """
        prepared = _prepared(statement)
        values = prepared.values(parameters)
        try:
            with self._driver.cursor() as cursor:
                self._run(cursor, prepared, values)
                return Answer([prepared.row(row) for row in cursor.fetchall()])
        except psycopg2.Error as error:
            raise _told(error, prepared.name) from error

    def _run(self, cursor: Any, prepared: Prepared | Together, values: list[Any]) -> None:
        for _ in range(_TRIES * self._may_prepare):
            for part in prepared.parts:
                self._prepare(cursor, part)
            try:
                cursor.execute(prepared.call, values)
            except psycopg2.OperationalError as error:
                if error.pgcode != _NOT_PREPARED_HERE:
                    raise
                self._known.difference_update(part.name for part in prepared.parts)
            else:
                return
        self._may_prepare = False
        cursor.execute(prepared.inline, prepared.named(values))

    def _prepare(self, cursor: Any, prepared: Prepared) -> None:
        if prepared.name in self._known:
            return
        try:
            cursor.execute(f"PREPARE {prepared.name} AS {prepared.text}")
        except psycopg2.ProgrammingError as error:
            if error.pgcode != errorcodes.DUPLICATE_PREPARED_STATEMENT:
                raise
        self._known.add(prepared.name)

    def rest(self) -> None:
        """Note that nothing is sent on it until `is_usable` was asked."""
        self._idle_since = time.monotonic()

    @property
    def is_usable(self) -> bool:
        """Whether the connection has outlived the time since its last use."""
        return is_usable(self._driver, self._idle_since, self._max_idle_seconds)

    @property
    def is_closed(self) -> bool:
        return bool(self._driver.closed)

    def close(self) -> None:
        self._driver.close()


def _told(error: Exception, what: str) -> BaseException:
    told: BaseException = DBAPIError.instance(what, None, error, psycopg2.Error, hide_parameters=True)
    return told


# The connection kept for the next statement, by its engine: a process has another engine after a fork.
_kept: dict[Engine, PreparedConnection] = {}


@contextmanager
def prepared_connection() -> Iterator[PreparedConnection]:
    """A connection for several statements in turn, kept open for the next caller unless one fails.

    Raises SQLAlchemy's errors, a pool's timeout among them.
    """
    source = engine()
    connection = _kept.pop(source, None)
    if connection is None or not connection.is_usable:
        if connection is not None:
            connection.close()
        connection = _open(source)
    try:
        yield connection
    except DBAPIError:
        connection.close()
        raise
    finally:
        _keep(connection, source)


def execute_prepared(
    connection: Connection, statement: Statement | tuple[Statement, ...], parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """As `connection.execute` for a connection in autocommit, with the statement prepared on it: it is planned once.

    Raises SQLAlchemy's DBAPIError. A connection that fails goes back to no pool.
    """
    kept = connection.info.get(PreparedConnection)
    if kept is None:
        kept = PreparedConnection(connection.connection.driver_connection, get_settings().database_max_idle_seconds)
        connection.info[PreparedConnection] = kept
    try:
        return kept.execute(statement, parameters).all()
    except DBAPIError as error:
        if is_outage(error):
            connection.invalidate(error)
            error.connection_invalidated = True  # as SQLAlchemy says it
        raise


def rows_of(db: Session | Connection, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Return the rows of a statement in the session's transaction, or prepared on a connection in autocommit."""
    if isinstance(db, Session):
        return db.execute(statement, parameters).all()
    return execute_prepared(db, statement, parameters)


def _keep(connection: PreparedConnection, source: Engine) -> None:
    if connection.is_closed:
        return
    connection.rest()
    if _kept.setdefault(source, connection) is not connection:  # a timer's and the body's thread each opened one
        connection.close()


def _open(source: Engine) -> PreparedConnection:
    """Take a connection out of the pool for good: no session waits for it, and nothing resets it between statements."""
    try:
        pooled = source.raw_connection()
    except psycopg2.Error as error:
        raise _told(error, "connect") from error
    driver: Any = pooled.dbapi_connection
    pooled.detach()
    driver.autocommit = True
    if not event.contains(source, "engine_disposed", _let_go):
        event.listen(source, "engine_disposed", _let_go)
    return PreparedConnection(driver, get_settings().database_max_idle_seconds)


def _let_go(source: Engine) -> None:
    """Close the kept connection with its engine. After a fork the socket is the parent's: forget it without closing."""
    kept = _kept.pop(source, None)
    if kept is not None and kept.pid == os.getpid():
        kept.close()
