"""How many rows of short tasks a pool process claims together, and when it claims none."""

from collections.abc import Callable
from typing import Any

import pytest

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.sql import claims as statements
from app.db.statements.claim_requests import MOST_ROWS, Names
from app.messaging.application import celery_app
from app.services.execution.claims import Claims
from app.worker.child.process import ChildProcess
from app.worker.child.taker import SHORT_SECONDS, Taker, rows_together
from app.worker.child.tasks_left import TasksLeft
from app.worker.shared.slot_table import SlotTable

MOST = 4 * MOST_ROWS
QUEUES = ("high_priority", "default")
NOOP, MAIL = "noop", "send_email"


class TestRowsTogether:
    @pytest.mark.parametrize("longest", [0.0, 0.0001, SHORT_SECONDS / 4])
    def test_are_as_many_as_a_claim_may_take_where_all_begin_in_time(self, longest: float) -> None:
        assert rows_together(MOST, longest) == MOST

    @pytest.mark.parametrize(("longest", "expected"), [(SHORT_SECONDS / 2, 20), (SHORT_SECONDS, 10), (0.0126, 3)])
    def test_are_fewer_where_the_last_ones_would_begin_late(self, longest: float, expected: int) -> None:
        assert rows_together(MOST, longest) == expected

    def test_are_always_as_many_where_a_claim_takes_few(self) -> None:
        """On PostgreSQL, whose statement has the number in its text."""
        assert {rows_together(MOST_ROWS, SHORT_SECONDS * part / 100) for part in range(100)} == {MOST_ROWS}


class TestWhereTheParentIsBehind:
    @pytest.fixture
    def taker(self, table: SlotTable) -> Taker:
        table.is_behind = True
        child = ChildProcess(new_id(), get_settings(), of_worker=table)
        return Taker(celery_app, "w@test", child, QUEUES, None)

    @pytest.fixture
    def woken(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        queues: list[Any] = []
        monkeypatch.setattr("app.messaging.publisher.publish", queues.append)
        return queues

    @pytest.fixture
    def claims(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """One for each claim that is made. It finds nothing."""
        made: list[str] = []

        def claim(_take: Callable[..., Any], _patience: object, **_: object) -> list[Any]:
            made.append("claim")
            return []

        monkeypatch.setattr("app.worker.child.taker.deliver", claim)
        return made

    def test_nothing_is_claimed_and_the_slot_wakes_itself_for_later(
        self, taker: Taker, woken: list[Any], claims: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.worker.child.taker.SLICE_SECONDS", 0.02)
        taker.serve()
        assert (claims, woken) == ([], [QUEUES])

    def test_the_slot_goes_on_as_soon_as_it_is_no_more(
        self, taker: Taker, table: SlotTable, woken: list[Any], claims: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.worker.child.taker.SLICE_SECONDS", 60)
        monkeypatch.setattr("time.sleep", lambda _: setattr(table, "is_behind", False))
        taker.serve()
        assert (claims, woken) == (["claim"], [])

    def test_nothing_is_claimed_after_it_where_the_worker_leaves_meanwhile(
        self, taker: Taker, table: SlotTable, claims: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def leave(_: float) -> None:
            table.leave()
            table.is_behind = False

        monkeypatch.setattr("app.worker.child.taker.SLICE_SECONDS", 60)
        monkeypatch.setattr("time.sleep", leave)
        taker.serve()
        assert claims == []


class TestWhatIsAskedFor:
    """Of a claim: as many rows as the engine's statement may take, the process may run, and begin in time."""

    @pytest.mark.parametrize(
        ("took", "left", "expected"),
        [({}, None, 40), ({NOOP: 0.001}, None, 40), ({NOOP: 0.001, MAIL: 0.0025}, None, 20), ({NOOP: 0.001}, 15, 15)],
    )
    def test_are_as_many_rows_as_fit(
        self, took: dict[str, float], left: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Names] = []
        monkeypatch.setattr("app.worker.child.taker.deliver", lambda take, _, **__: take(None))
        monkeypatch.setattr(Claims, "next", lambda _self, _db, names, *_, **__: asked.append(names) or [])
        monkeypatch.setattr(statements, "MOST_AT_ONCE", 40)
        child = ChildProcess(new_id(), get_settings(), tasks_left=TasksLeft(left))
        taker = Taker(celery_app, "w@test", child, QUEUES, None)
        taker._durations.update(took)  # as after runs of these tasks
        taker.serve()
        assert [(each.most, each.short) for each in asked] == [(expected, list(took))]
