"""Asks in one statement which passes have anything to do: of an idle service it is all that a round costs."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db.outage import is_outage
from app.db.sql import prepared
from app.maintenance.rounds import Pass, queues

logger = logging.getLogger(__name__)


class Look:
    """The statement for these passes, as far as they have a condition. Built once for the queues that there are."""

    def __init__(self, passes: Iterable[Pass]) -> None:
        self.passes = tuple(one for one in passes if one.has_work is not None)
        self._built: tuple[frozenset[str], Select[Any]] | None = None

    def find(self, db: Session) -> list[Pass]:
        """Return those that have anything to do now, and all where one of their conditions fails.

        One round trip, on a connection of its own; on that of the session where a caller has bound it to one. Raises
        SQLAlchemy's errors where the database is away.
        """
        if not self.passes:
            return []
        try:
            found = self.ask(db)
        except Exception as error:
            if is_outage(error):
                raise
            db.rollback()
            logger.exception("maintenance: a pass cannot be asked whether it has anything to do: all of them run")
            return [*self.passes]
        return [one for one, has in zip(self.passes, found, strict=True) if has]

    def ask(self, db: Session) -> Sequence[Any]:
        """Return the answers of the passes. Raises SQLAlchemy's errors."""
        statement = self._statement()
        if db.bind is not None:
            return tuple(db.execute(statement, {}).one())
        with prepared.prepared_connection() as connection:
            return tuple(connection.execute(statement, {}).one_or_none() or ())

    def _statement(self) -> Select[Any]:
        there = queues()
        if self._built is None or self._built[0] != there:
            conditions: list[Any] = [one.has_work() for one in self.passes if one.has_work is not None]
            self._built = (there, select(*conditions))
        return self._built[1]
