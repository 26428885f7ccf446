"""Asks in one statement which passes have anything to do: of an idle service it is all that a round costs."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db.sql import prepared
from app.maintenance.rounds import Pass


class Look:
    """The statement for these passes, as far as they have a condition. It is built once, at the first look."""

    def __init__(self, passes: Iterable[Pass]) -> None:
        self.passes = tuple(one for one in passes if one.has_work is not None)

    @cached_property
    def _statement(self) -> Select[Any]:
        conditions: list[Any] = [one.has_work() for one in self.passes if one.has_work is not None]
        return select(*conditions)

    def find(self, db: Session) -> list[Pass]:
        """Return those that have anything to do now. Raises SQLAlchemy's errors.

        One round trip, on a connection of its own; on that of the session where a caller has bound it to one.
        """
        if not self.passes:
            return []
        found: Sequence[Any] | None
        if db.bind is not None:
            found = db.execute(self._statement, {}).one_or_none()
        else:
            with prepared.prepared_connection() as connection:
                found = connection.execute(self._statement, {}).one_or_none()
        return [one for one, has in zip(self.passes, found or (), strict=True) if has]
