"""What this process says to the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg2.extensions
from sqlalchemy import Connection, Engine, event

from app.db.postgresql.prepared import Prepared, PreparedConnection
from app.db.session import dispose_engine, engine, group_engine


@contextmanager
def before_each_statement(act: Callable[[str, Any], object], *, with_settings: bool = False) -> Iterator[None]:
    """Calls `act(statement, parameters)` before each statement of the service's pools, in the thread that sends it.

    `with_settings`: a prepared statement comes with the SET LOCAL that are sent in its message.
    """

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        act(statement, parameters)

    engines, plain = (engine(), group_engine()), PreparedConnection.execute

    def execute(self: PreparedConnection, statement: Any, parameters: Any) -> Any:
        prepared = Prepared(statement)
        settings = prepared.call.partition("EXECUTE ")[0] if with_settings else ""
        act(settings + prepared.text, parameters)
        return plain(self, statement, parameters)

    for each in engines:
        event.listen(each, "before_cursor_execute", note)
    PreparedConnection.execute = execute
    try:
        yield
    finally:
        PreparedConnection.execute = plain
        for each in engines:
            event.remove(each, "before_cursor_execute", note)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements from now on; each is a round trip."""
    seen: list[str] = []
    with before_each_statement(lambda statement, _: seen.append(statement)):
        yield seen


@contextmanager
def sent_by(source: Engine | Connection) -> Iterator[list[tuple[str, Any]]]:
    """The statements of this engine or connection from now on, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        seen.append((statement, parameters))

    event.listen(source, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(source, "before_cursor_execute", note)


class Cursor(psycopg2.extensions.cursor):
    """Notes what it sends; `forgets` stands for a pooler that hands each statement to another server."""

    sent: ClassVar[list[str]] = []
    forgets = False

    def execute(self, statement: Any, values: Any = None) -> None:
        if not (self.forgets and str(statement).startswith("PREPARE ")):
            self.sent.append(str(statement))
            super().execute(statement, values)


@contextmanager
def noted_connections() -> Iterator[list[Any]]:
    """psycopg2's connections that the engine makes from here on, the latest last; all use `Cursor`."""
    made: list[Any] = []

    def connected(driver: Any, _record: Any) -> None:
        driver.cursor_factory = Cursor
        made.append(driver)

    dispose_engine()
    source = engine()
    event.listen(source, "connect", connected)
    try:
        yield made
    finally:
        event.remove(source, "connect", connected)
