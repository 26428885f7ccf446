"""Inserting tasks: their turns first, then all rows in one INSERT, and what is counted of them."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Insert, Uuid, insert, select

from app.db.statements.tables import DECIDED, TASKS
from app.db.statements.turns import give_turns
from app.db.transactions import Executor, Transaction, atomically
from app.ddl.clock import NOW
from app.ddl.columns import JSONText, UTCDateTime
from app.ddl.terms import HIDDEN_HOLD
from app.models.queue import ClaimHold, HoldKind
from app.models.task import NEVER_DUE, Held
from app.models.task_stats import SUBMITTED, task_submissions

_PAUSED = select(ClaimHold.name).where(ClaimHold.kind == HoldKind.QUEUE.value)


@dataclass(frozen=True)
class NewRows:
    """An INSERT of rows with these columns, given as JSON, and how each value is read."""

    insert: Insert
    read: dict[str, Callable[[Any], Any]]


def insert_statement(names: Sequence[str]) -> NewRows:
    """Return an INSERT of tasks whose columns `names` are given; build it once. `insert_rows` executes it."""
    read: dict[str, Callable[[Any], Any]] = {}
    for name in names:
        kind = TASKS.c[name].type
        if isinstance(kind, Uuid):
            read[name] = UUID
        elif kind is UTCDateTime:
            read[name] = datetime.fromisoformat
        elif isinstance(kind, JSONText):  # the column dumps what it is given
            read[name] = json.loads
        else:
            read[name] = _as_it_is
    return NewRows(insert(TASKS), read)


def insert_rows(
    db: Executor, statement: NewRows, rows: Sequence[str], *, place: bool = True
) -> Sequence[Sequence[Any]]:  # fmt: skip
    """Insert these rows, each a JSON object of its columns. With `place`, those that are due get their turns.

    The last turns of the users are then locked until the commit: other submits of these users wait for it. Outside of a
    transaction this is one. Returns the DECIDED columns of each, and why it waits.
    Raises IntegrityError or DataError where one of them does not fit; then none is inserted.
    """
    new = [_read(statement, row) for row in rows]

    def write(db: Transaction) -> list[tuple[Any, ...]]:
        now: datetime = db.execute(select(NOW)).scalar_one()
        for row in new:
            _set_times(row, now)
        due = [row for row in new if row["due_at"] <= now] if place else []
        turns = give_turns(db, [(row["id"], row["user_id"], row["queue"], row["priority"]) for row in due])
        for row in new:
            row["turn"] = turns.get(row["id"])
        db.execute(statement.insert, new)
        kinds = Counter((row["user_id"], *(row[name] for name in SUBMITTED)) for row in new)
        db.execute(
            insert(task_submissions),
            [
                {**dict(zip(("user_id", *SUBMITTED), kind, strict=True)), "at": now, "number": number}
                for kind, number in kinds.items()
            ],
        )
        paused = set(db.execute(_PAUSED).scalars())
        return [(*(row[name] for name in DECIDED), _waits(row, now, paused)) for row in new]

    return atomically(db, write)


def _read(statement: NewRows, text: str) -> dict[str, Any]:
    """Return all columns of the statement: an INSERT of several rows takes the columns that the first of them has."""
    given: dict[str, Any] = json.loads(text)
    return {name: None if given.get(name) is None else read(given[name]) for name, read in statement.read.items()}


def _as_it_is(value: Any) -> Any:
    return value


def _set_times(row: dict[str, Any], now: datetime) -> None:
    """Fill in what the database's clock decides of a row."""
    if row["run_at"] is None and row.get("delay_seconds") is not None:
        row["run_at"] = now + timedelta(seconds=row["delay_seconds"])
    start = row["run_at"]
    row["due_at"] = start if start is not None and start > now else now
    if row.get("held") == Held.DEPENDENCY:
        row["due_at"] = NEVER_DUE
    row["created_at"] = row["updated_at"] = now


def _waits(row: dict[str, Any], now: datetime, paused: set[str]) -> str:
    """As `app/ddl/engines.py` derives it for a row in the table."""
    if row["run_at"] is not None and row["run_at"] > now:
        return "schedule"
    if row["queue"] in paused:
        return "paused"
    held: str | None = row.get("held")
    return "ready" if held is None or held == HIDDEN_HOLD else held
