"""How many rows of short tasks a pool process claims together, and when it claims none."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.task_bodies import belongs_to, hand_on, hand_on_no_more
from app.db.sql import claims as statements
from app.db.statements.dependencies import Child
from app.db.statements.pending_rows import MOST_ROWS, TaskNames
from app.errors import TaskCancelled
from app.messaging.application import celery_app
from app.services.execution.claims import Claims, ReadyClaim
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess, TasksLeft
from app.worker.child.taker import SHORT_SECONDS, Ran, Taker, rows_together
from app.worker.shared.delivery import Undeliverable
from app.worker.shared.slot_table import SlotTable

MOST = 4 * MOST_ROWS
QUEUES = ("high_priority", "default")
NOOP, MAIL = "noop", "send_email"
NAME = "celery.accumulate"  # one that Celery brings
CLAIMS = [
    ReadyClaim(new_id(), 1, [], {}, 0, 1, False, None, NAME, new_id(), "default", "normal", None, None, None, None)
    for _ in range(3)
]


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
        monkeypatch.setattr("app.messaging.wakeups.publish", queues.append)
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
        asked: list[TaskNames] = []
        monkeypatch.setattr("app.worker.child.taker.deliver", lambda take, _, **__: take(None))
        monkeypatch.setattr(Claims, "next", lambda _self, _db, names, *_, **__: asked.append(names) or [])
        monkeypatch.setattr(statements, "MOST_AT_ONCE", 40)
        child = ChildProcess(new_id(), get_settings(), tasks_left=TasksLeft(left))
        taker = Taker(celery_app, "w@test", child, QUEUES, None)
        taker._durations.update(took)  # as after runs of these tasks
        taker.serve()
        assert [(each.most, each.short) for each in asked] == [(expected, list(took))]


class TestChildrenOfARowThatIsAlone:
    """Its end has let children go on. Slots are woken for them, but for one that the process finds itself."""

    CHILD = Child(new_id(), "default", new_id(), None, None, True)

    @pytest.fixture
    def woken(self, monkeypatch: pytest.MonkeyPatch) -> list[Child]:
        found: list[Child] = []
        monkeypatch.setattr("app.messaging.wakeups.publish", lambda _: None)
        monkeypatch.setattr("app.services.tasks.due_tasks.wake_committed", found.extend)
        return found

    def serve(
        self,
        monkeypatch: pytest.MonkeyPatch,
        children: list[Child],
        *claims: ReadyClaim,
        error: Undeliverable | None = None,
    ) -> list[bool]:
        """Serve a row that lets these children go on, and then these claims or this error. Returns how it claimed."""
        asked: list[bool] = []
        answers = iter([CLAIMS[:1], [*claims]])

        def claim(_self: Claims, *_: object, is_woken: bool) -> list[ReadyClaim]:
            if asked and error is not None:
                raise error
            asked.append(is_woken)
            return next(answers, [])

        def run_all(_self: Taker, claimed: list[ReadyClaim], _: float) -> Ran:
            return Ran(time.monotonic(), children if claimed == CLAIMS[:1] else [], gave_back=False)

        monkeypatch.setattr("app.worker.child.taker.deliver", lambda take, _, **__: take(None))
        monkeypatch.setattr(Claims, "next", claim)
        monkeypatch.setattr(Taker, "_run_all", run_all)
        Taker(celery_app, "w@test", ChildProcess(new_id(), get_settings()), QUEUES, None).serve()
        return asked

    def test_is_claimed_by_its_process_without_a_message(
        self, woken: list[Child], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self.serve(monkeypatch, [self.CHILD], replace(CLAIMS[1], id=self.CHILD.id))
        assert (asked, woken) == ([True, True, False], [])

    @pytest.mark.parametrize("claims", [(), (CLAIMS[1],)], ids=["nothing", "another row"])
    def test_has_a_slot_woken_after_all_where_its_process_claims_something_else(
        self, claims: Sequence[ReadyClaim], woken: list[Child], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.serve(monkeypatch, [self.CHILD], *claims)
        assert woken == [self.CHILD]

    def test_has_a_slot_woken_after_all_where_the_database_is_away(
        self, woken: list[Child], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.serve(monkeypatch, [self.CHILD], error=Undeliverable("the database is away"))
        assert woken == [self.CHILD]

    def test_has_a_slot_woken_after_all_where_its_worker_leaves_meanwhile(
        self, woken: list[Child], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter([False, False, True])  # before a claim, behind its rows, before the next claim
        monkeypatch.setattr(ChildProcess, "is_leaving", lambda _: next(answers))
        asked = self.serve(monkeypatch, [self.CHILD])
        assert (asked, woken) == ([True], [self.CHILD])

    def test_have_slots_woken_for_all_but_one(self, woken: list[Child], monkeypatch: pytest.MonkeyPatch) -> None:
        others = [self.CHILD._replace(id=new_id()) for _ in range(2)]
        self.serve(monkeypatch, [self.CHILD, *others], replace(CLAIMS[1], id=self.CHILD.id))
        assert woken == others

    @pytest.mark.parametrize(
        "other",
        [{"is_placed": False}, {"limit": "api"}, {"user_limited": True}, {"queue": "elsewhere"}],
        ids=lambda other: next(iter(other)),
    )
    def test_has_a_slot_woken_where_its_process_cannot_claim_it(
        self, other: dict[str, Any], woken: list[Child], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        child = self.CHILD._replace(**other)
        asked = self.serve(monkeypatch, [child])
        assert (asked, woken) == ([True, False], [child])

    def test_has_a_slot_woken_where_its_process_is_to_end(
        self, woken: list[Child], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.worker.child.taker.SLICE_SECONDS", 0.0)
        self.serve(monkeypatch, [self.CHILD])
        assert woken == [self.CHILD]


class TestABodyThatLeavesThreads:
    """Of a claim of three rows: the first one is cancelled, and its thread runs on."""

    @pytest.fixture
    def gate(self) -> Iterator[threading.Event]:
        hand_on()
        gate = threading.Event()
        yield gate
        gate.set()
        hand_on_no_more()

    @pytest.fixture
    def given_back(self, monkeypatch: pytest.MonkeyPatch) -> list[ReadyClaim]:
        found: list[ReadyClaim] = []
        monkeypatch.setattr("app.worker.child.taker.deliver", lambda statement, _: statement(None))
        monkeypatch.setattr("app.worker.child.taker.give_back", lambda _, claims: found.extend(claims))
        return found

    def run(
        self, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, *, is_cancelled: bool, left: TasksLeft
    ) -> int:
        """Run the claimed rows. Returns how many were begun."""
        begun: list[AttemptRun] = []

        def trace(_: Taker, run: AttemptRun) -> None:
            begun.append(run)
            if len(begun) == 1:
                run.stopped = TaskCancelled if is_cancelled else None
                with belongs_to(run):
                    threading.Thread(target=gate.wait, name="left-behind").start()

        monkeypatch.setattr(Taker, "_trace", trace)
        monkeypatch.setattr("app.messaging.wakeups.publish", lambda _: None)
        taker = Taker(celery_app, "w@test", ChildProcess(new_id(), get_settings(), tasks_left=left), QUEUES, None)
        taker._run_all(CLAIMS, time.monotonic())
        return len(begun)

    def test_ends_its_process_and_gives_the_other_rows_back(
        self,
        gate: threading.Event,
        given_back: list[ReadyClaim],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        left = TasksLeft(may_end=True)
        assert self.run(gate, monkeypatch, is_cancelled=True, left=left) == 1
        assert (given_back, left.number) == (CLAIMS[1:], 0)
        assert [
            str(CLAIMS[0].id) in line and "1 threads running (left-behind)" in line for line in caplog.messages
        ] == [True]

    @pytest.mark.parametrize("is_cancelled", [False, True])
    def test_goes_on_where_it_has_succeeded_or_where_no_process_can_end(
        self,
        gate: threading.Event,
        given_back: list[ReadyClaim],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        is_cancelled: bool,
    ) -> None:
        left = TasksLeft(may_end=not is_cancelled)
        assert self.run(gate, monkeypatch, is_cancelled=is_cancelled, left=left) == len(CLAIMS)
        assert (given_back, left.number) == ([], math.inf)
        said = f"task {CLAIMS[0].id}: attempt 1 was stopped, and its body has left 1 threads running (left-behind): "
        assert [line.removeprefix(said) for line in caplog.messages] == [
            "they go on, no process of a pool ends"
        ] * is_cancelled
