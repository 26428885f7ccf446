"""What was seen of the tasks: every change in the database, the rows at the end, and the ledger of the bodies."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.lawful import TERMINAL

# One machine, one clock, two programs that read it; and what only a clock that was set wrong on purpose shows.
SAME_MOMENT = 0.005
WRONG_CLOCK = 600.0


@dataclass(frozen=True)
class Change:
    """One INSERT, UPDATE or DELETE of a task, as the database's own trigger saw it: the row before and after."""

    seq: int
    at: float
    task_id: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None

    @property
    def row(self) -> dict[str, Any]:
        return self.new or self.old or {}

    @property
    def status(self) -> str:
        return str(self.row["status"])

    @property
    def attempt(self) -> int:
        return int(self.row["attempt"])

    @property
    def moves(self) -> bool:
        return bool(self.old and self.new and self.old["status"] != self.new["status"])

    @property
    def ends(self) -> bool:
        """From a state that is not the end into one that is."""
        return bool(self.moves and self.status in TERMINAL and self.old and self.old["status"] not in TERMINAL)

    @property
    def claims(self) -> bool:
        return self.moves and self.status == "running"

    def __str__(self) -> str:
        what = f"{self.old['status'] if self.old else 'nothing'} → {self.status if self.new else 'nothing'}"
        counts = (f"{name} {self.row[name]}" for name in ("attempt", "generation", "failures", "crashes"))
        return f"row   {what}, {' '.join(counts)}"


@dataclass(frozen=True)
class Line:
    """One line of a body's ledger."""

    task_id: str
    attempt: int
    event: str
    pid: int
    time: float

    def __str__(self) -> str:
        return f"body  {self.event}, attempt {self.attempt} in process {self.pid}"


def most_at_once(lines: Iterable[Line], ids: Collection[str], died: Mapping[int, float]) -> int:
    """How many bodies of these ran at the same time at most; `died`: when a process was killed."""
    own = [line for line in lines if line.task_id in ids]
    ends = {(line.task_id, line.attempt): line.time for line in own if line.event != "start"}
    changes = []
    for line in own:
        if line.event == "start":
            end = ends.get((line.task_id, line.attempt))
            changes += [(line.time, 1), (died[line.pid] if end is None else end, -1)]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


@dataclass(frozen=True)
class Row:
    """A task as it stands."""

    status: str
    attempt: int


@dataclass(frozen=True)
class PastAttempt:
    """A row of task_attempts."""

    number: int
    outcome: str


@dataclass
class History:
    """All that is known of one task."""

    task_id: str
    changes: list[Change] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    row: Row | None = None
    attempts: list[PastAttempt] = field(default_factory=list)
    accepted: bool = True
    deleted: bool = False
    keeps_ledger: bool = True

    def starts(self) -> list[Line]:
        return [line for line in self.lines if line.event == "start"]

    def body_ended_before(self, change: Change) -> bool:
        """Whether the body of this very attempt had done its work by then; a clock that is hours off decides nothing."""
        ends = [line.time - change.at for line in self.lines if (line.event, line.attempt) == ("end", change.attempt)]
        return any(late < SAME_MOMENT or late > WRONG_CLOCK for late in ends)

    def __str__(self) -> str:
        """Both logs in one, by time: they are read on one machine's clock."""
        merged: list[tuple[float, str]] = [(change.at, str(change)) for change in self.changes]
        merged += [(line.time, str(line)) for line in self.lines]
        first = min((at for at, _ in merged), default=0.0)
        shown = [f"    {at - first:9.3f} s  {text}" for at, text in sorted(merged)]
        past = ", ".join(f"{each.number} {each.outcome}" for each in self.attempts) or "none"
        return "\n".join([f"  task {self.task_id}: {self.row}, past attempts: {past}", *shown])


def read_ledger(ledger: Path) -> list[Line]:
    """The ledger's lines; one that a dying machine cut short would be an error here, and is not to be expected."""
    if not ledger.exists():
        return []
    return [Line(**json.loads(line)) for line in ledger.read_text(encoding="utf-8").splitlines()]


def histories(
    accepted: Iterable[Any], changes: Iterable[Change], lines: Iterable[Line], *, keep_ledger: bool = True
) -> dict[str, History]:
    """By task: those that were accepted, and whatever else the logs tell of."""
    found = {str(task_id): History(str(task_id), keeps_ledger=keep_ledger) for task_id in accepted}
    event: Change | Line
    for event in (*changes, *lines):
        history = found.setdefault(event.task_id, History(event.task_id, accepted=False, keeps_ledger=keep_ledger))
        if isinstance(event, Change):
            history.changes.append(event)
        else:
            history.lines.append(event)
    return found
