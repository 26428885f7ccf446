"""Where claims look: above a floor, which follows the claimed turns, and once a second everywhere."""

import time
from collections.abc import Sequence
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.ids import new_id
from app.db.sql import claims as statements
from app.db.statements.pending_rows import LinesToServe, TaskNames
from app.services.execution.attempts import WorkerIdentity
from app.services.execution.claims import FULL_LOOK_SECONDS, NO_FLOOR, SLACK_SECONDS, Claims, ReadyClaim

WORKER = WorkerIdentity("worker@test", new_id(), 4711)
# What a claim returns beside the place of the line and the turn, which is the last field.
VALUES: list[Any] = [{"queue": "default"}.get(field.name) for field in fields(ReadyClaim)[:-1]]


class Table:
    """One line of rows by their turns, and a clock. `looks` are the floors that the claims named."""

    def __init__(self, turns: Sequence[float]) -> None:
        self.turns, self.now, self.looks = list(turns), 100.0, list[float]()
        self.claims = Claims([("default", "normal")])

    def claim_next(self, _db: Any, _limit: int, lines: LinesToServe, *_: Any) -> list[Any]:
        ((floor, _),) = lines.floors
        self.looks.append(floor)
        above = [turn for turn in self.turns if turn >= floor]
        if not above:
            return []
        self.turns.remove(min(above))
        return [(*VALUES, 1, min(above))]

    def take(self, seconds: float = 0.0, *, is_woken: bool = True) -> float | None:
        """The turn of the next row that a claim finds so many seconds later."""
        self.now += seconds
        nothing: Any = SimpleNamespace()
        found = self.claims.next(nothing, TaskNames([], []), new_id(), WORKER, is_woken=is_woken)
        return found[0].turn if found else None


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    table = Table(range(1500))
    monkeypatch.setattr(statements, "claim_next", table.claim_next)
    monkeypatch.setattr(time, "monotonic", lambda: table.now)
    return table


def run(table: Table, number: int, each: float) -> None:
    for _ in range(number):
        assert table.take(each) is not None


def test_the_floor_is_what_was_claimed_a_moment_ago_however_many_turns_that_is(table: Table) -> None:
    run(table, 1000, SLACK_SECONDS / 100)
    last = table.take()
    assert last is not None
    assert 100 <= last - table.looks[-1] <= 250


def test_a_row_that_is_committed_a_moment_late_is_found_at_once(table: Table) -> None:
    run(table, 500, SLACK_SECONDS / 100)
    late = table.looks[-1] + 0.5
    table.turns.append(late)
    assert table.take() == late


def test_a_row_below_the_floor_is_found_within_a_second(table: Table) -> None:
    run(table, 500, SLACK_SECONDS / 100)
    table.turns.append(0.5)
    begun = table.now
    while table.take(SLACK_SECONDS / 100) != 0.5:
        assert table.now - begun <= FULL_LOOK_SECONDS
    assert table.looks[-1] == NO_FLOOR[0]


def test_a_row_below_the_floor_is_found_at_once_where_nothing_else_is(table: Table) -> None:
    run(table, 500, SLACK_SECONDS / 100)
    table.turns = [0.5]
    assert table.take() == 0.5
    assert table.take() is None


def test_a_process_that_was_not_woken_looks_below_once_a_second(table: Table) -> None:
    run(table, 500, SLACK_SECONDS / 100)
    assert table.take(FULL_LOOK_SECONDS) is not None  # a full look
    table.turns = [0.5]
    assert table.take(is_woken=False) is None
    assert table.take(FULL_LOOK_SECONDS, is_woken=False) == 0.5


def test_floors_follow_turns_that_fall(table: Table) -> None:
    """As after the database was restored: else each row would wait for a look without floors."""
    run(table, 500, SLACK_SECONDS / 100)
    table.turns = [turn / 1000 for turn in range(1000)]
    run(table, 300, SLACK_SECONDS / 100)
    assert table.looks[-50:].count(NO_FLOOR[0]) <= 1
    assert table.looks[-1] < 1
