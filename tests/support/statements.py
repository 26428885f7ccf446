"""What this process says to the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from app.db.session import engine, group_engine


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements from now on, of every connection of the service's own; each is a round trip."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    engines = (engine(), group_engine())
    for each in engines:
        event.listen(each, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for each in engines:
            event.remove(each, "before_cursor_execute", note)
