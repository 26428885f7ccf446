"""The loop of maintenance, with passes that only say that they ran. No service."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

import pytest
from prometheus_client import generate_latest
from redis.exceptions import ConnectionError as BrokerAway
from sqlalchemy import ColumnElement, create_engine, event, false, literal_column, text, true
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from app.core import metrics
from app.core.config import Settings, get_settings
from app.core.served_tasks import ServedTasks
from app.maintenance import lease, loop, passes, rounds as rounds_module
from app.maintenance.lease import Lease
from app.maintenance.loop import PASSES, Maintenance, WorkQuery
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_MINUTE, EACH_ROUND, Needs, Pass, Round, queues
from tests.support.waiting import wait_for

OUTAGE = OperationalError("SELECT 1", {}, Exception("gone"), connection_invalidated=True)
WRONG = ProgrammingError("SELEC 1", {}, Exception("syntax error"))


@pytest.fixture(autouse=True)
def lead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Lease | None], None]:
    """Whether this process leads. It does."""

    def set_lease(held: Lease | None) -> None:
        monkeypatch.setattr(lease, "acquire", lambda *_, **__: held)

    set_lease(Lease(may_rescue=True))
    monkeypatch.setattr(lease, "release", lambda *_: None)
    return set_lease


class Ran(list[str]):
    """The names of the passes that ran, in their order."""

    def one(
        self,
        name: str,
        *does: Any,
        every: float = EACH_ROUND,
        needs: Needs = Needs.DATABASE,
        between: bool = False,
        has_work: Callable[[], ColumnElement[bool]] | None = None,
    ) -> Pass:
        """A pass that does this at its first run, and so on: raises an error, or returns a value; then returns None."""
        left = iter(does)

        def run(_db: Session, _this: Round) -> float | None:
            self.append(name)
            answer = next(left, None)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return Pass(name, every, needs, run, has_work, between_rounds=between)


@pytest.fixture
def ran() -> Ran:
    return Ran()


def rounds(*of: Pass, number: int = 1) -> bool:
    maintenance = Maintenance(get_settings(), of)
    with Session() as db:
        return all(maintenance.run_once(db) for _ in range(number))


@contextmanager
def started(*of: Pass, seconds: float = 60.0) -> Iterator[None]:
    """Threads with so much time between two rounds."""
    maintenance = Maintenance(get_settings(), of)
    with patch.object(loop, "INTERVAL_SECONDS", seconds):
        maintenance.start()
        try:
            yield
        finally:
            maintenance.stop()


class TestTheRegistry:
    def test_has_each_pass_of_each_module(self) -> None:
        there = set[Pass]()
        for module in iter_modules(passes.__path__):
            for value in vars(import_module(f"{passes.__name__}.{module.name}")).values():
                there |= {value} if isinstance(value, Pass) else set()
        assert there
        assert there <= {*PASSES}

    def test_asks_each_pass_that_runs_often_whether_it_has_work(self) -> None:
        often = {one.name for one in PASSES if one.every <= 5 and one.has_work is None}
        assert often == {"trim_stored"}  # it adds up what users have stored: nothing shorter tells

    def test_names_each_pass_once(self) -> None:
        assert len({one.name for one in PASSES}) == len(PASSES)

    def test_no_pass_without_the_broker_uses_it(self) -> None:
        with pytest.raises(AssertionError, match="does not say"):
            Round(get_settings(), None, Event()).producer()


class TestARound:
    def test_runs_the_passes_in_their_order(self, ran: Ran) -> None:
        assert rounds(ran.one("first"), ran.one("second", needs=Needs.BROKER), ran.one("third"), number=2)
        assert ran == ["first", "second", "third"] * 2

    def test_commits_what_a_pass_has_left_uncommitted(self) -> None:
        written = create_engine("sqlite://", poolclass=StaticPool)

        def write(db: Session, _: Round) -> None:
            db.execute(text("INSERT INTO t VALUES (1)"))

        with Session(written) as db:
            db.execute(text("CREATE TABLE t (x)"))
            assert Maintenance(get_settings(), (Pass("write", EACH_ROUND, Needs.DATABASE, write),)).run_once(db)
            db.rollback()
            assert db.execute(text("SELECT x FROM t")).all() == [(1,)]
        written.dispose()

    def test_leaves_those_to_their_threads_that_have_one(self, ran: Ran) -> None:
        rounds(ran.one("long", needs=Needs.THREAD), ran.one("short"))
        assert ran == ["short"]

    def test_of_a_process_that_stands_by_runs_none(self, ran: Ran, lead: Callable[[Lease | None], None]) -> None:
        lead(None)
        assert not rounds(ran.one("first"))
        assert ran == []

    @pytest.mark.parametrize("may_rescue", [True, False])
    def test_tells_after_which_silence_a_worker_is_lost(
        self, may_rescue: bool, lead: Callable[[Lease | None], None]
    ) -> None:
        lead(Lease(may_rescue))
        told: list[Round] = []
        rounds(Pass("tells", EACH_ROUND, Needs.DATABASE, lambda _, this: told.append(this)))
        (this,) = told
        assert (this.silent_for is not None) == may_rescue

    def test_runs_a_rare_pass_when_its_time_has_come_and_at_once_where_more_is_left(self, ran: Ran) -> None:
        rare = ran.one("rare", AT_NEXT_ROUND, AT_NEXT_ROUND, every=EACH_MINUTE)
        rounds(rare, ran.one("usual"), number=5)
        assert ran == ["rare", "usual"] * 3 + ["usual"] * 2

    def test_runs_a_rare_pass_that_failed_when_its_time_has_come(self, ran: Ran) -> None:
        rounds(ran.one("rare", WRONG, every=EACH_MINUTE), number=2)
        assert ran == ["rare"]


class TestALeaseThatIsLost:
    def test_ends_what_a_pass_with_a_thread_has_under_way(
        self, ran: Ran, lead: Callable[[Lease | None], None]
    ) -> None:  # fmt: skip
        left = iter((True, False))

        def let_go(_db: Session) -> bool:
            ran.append("let go")
            return next(left, False)

        one = replace(ran.one("long", every=0.01, needs=Needs.THREAD), let_go=let_go)
        maintenance = Maintenance(get_settings(), (one,))
        maintenance.start()
        try:
            wait_for(lambda: "long" in ran, 10, "the pass to run")
            lead(None)
            wait_for(lambda: ran.count("let go") >= 2, 10, "it to let go of all")
            assert not maintenance.leads
        finally:
            maintenance.stop()

    def test_leaves_the_other_passes_of_the_round(self, ran: Ran, lead: Callable[[Lease | None], None]) -> None:
        """A pass takes longer than the lease, and another process leads meanwhile."""

        def takes_long(_db: Session, _this: Round) -> None:
            lead(None)
            maintenance._leads_until = time.monotonic() + 0.1

        long = Pass("long", EACH_ROUND, Needs.DATABASE, takes_long)
        maintenance = Maintenance(get_settings(), (long, ran.one("next")))
        with Session() as db:
            assert not maintenance.run_once(db)
        assert not ran

    def test_ends_with_its_time_where_the_database_is_away(
        self, ran: Ran, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        maintenance = Maintenance(Settings(maintenance_lease_seconds=0.01), (ran.one("one"),))
        with Session() as db:
            assert maintenance.run_once(db)

            def away(*_: Any, **__: Any) -> None:
                raise OUTAGE

            monkeypatch.setattr(lease, "acquire", away)
            with pytest.raises(OperationalError):
                maintenance.run_once(db)
        wait_for(lambda: not maintenance.leads, 5, "the lease to run out")

    def test_is_told_also_where_its_time_was_over(
        self, ran: Ran, lead: Callable[[Lease | None], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        """As of a process that was frozen: its log must not end with the word that it leads."""
        caplog.set_level("INFO")
        maintenance = Maintenance(Settings(maintenance_lease_seconds=0.01), (ran.one("one"),))
        with Session() as db:
            assert maintenance.run_once(db)
            wait_for(lambda: not maintenance.leads, 5, "the lease to run out")
            lead(None)
            assert not maintenance.run_once(db)
        assert [each.message.rpartition(f"{maintenance.id} ")[2] for each in caplog.records] == ["leads", "stands by"]


class TestStandingBy:
    def test_a_thread_that_the_system_has_not_given_is_started_at_the_next_round(
        self, ran: Ran, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start, refused = Thread.start, list[str]()

        def refuse_once(thread: Thread) -> None:
            if thread.name == "maintenance-second" and not refused:
                refused.append(thread.name)
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(Thread, "start", refuse_once)
        passes = tuple(ran.one(name, every=0.01, needs=Needs.THREAD) for name in ("first", "second"))
        maintenance = Maintenance(get_settings(), passes)
        maintenance.start()
        try:
            wait_for(lambda: {"first", "second"} <= {*ran}, 10, "both passes to run")
        finally:
            maintenance.stop()
        assert refused

    def test_takes_one_thread(self, ran: Ran, lead: Callable[[Lease | None], None]) -> None:
        lead(None)
        maintenance = Maintenance(get_settings(), (ran.one("alone", needs=Needs.THREAD),))
        maintenance.start()
        try:
            assert [each.name for each in maintenance._threads] == ["maintenance"]
            lead(Lease(may_rescue=True))
            wait_for(lambda: "alone" in ran, 10, "the pass to run")
        finally:
            maintenance.stop()


def test_a_pass_with_a_thread_has_those_run_that_follow_it(ran: Ran) -> None:
    """The one behind it would be looked at after ALL_SECONDS, as no look finds work for it here."""
    behind = ran.one("behind", needs=Needs.THREAD, has_work=false)
    alone = ran.one("alone", needs=Needs.THREAD, has_work=false)
    first = replace(ran.one("first", every=60.0, needs=Needs.THREAD), followed_by=(behind,))
    maintenance = Maintenance(get_settings(), (first, behind, alone))
    maintenance.start()
    try:
        wait_for(lambda: "behind" in ran, 10, "the pass behind it to run")
    finally:
        maintenance.stop()
    assert [*ran] == ["first", "behind"]


class TestAnIdleRound:
    """On a session that is bound to a connection: the conditions are asked on it."""

    def run(self, *of: Pass, number: int = 1) -> list[str]:
        """Return the statements of so many rounds."""
        asked = list[str]()
        written = create_engine("sqlite://", poolclass=StaticPool)
        event.listen(written, "before_cursor_execute", lambda _1, _2, statement, *_: asked.append(statement))
        maintenance = Maintenance(get_settings(), of)
        with Session(written) as db:
            assert all(maintenance.run_once(db) for _ in range(number))
        written.dispose()
        return asked

    def test_is_one_statement_however_many_passes_there_are(self, ran: Ran) -> None:
        assert len(self.run(*(ran.one(f"pass {n}", has_work=false) for n in range(20)), number=3)) == 3
        assert ran == []

    def test_runs_the_passes_that_have_no_condition(self, ran: Ran) -> None:
        self.run(ran.one("asked", has_work=false), ran.one("always"), number=2)
        assert ran == ["always"] * 2

    def test_is_none_where_one_pass_has_anything_to_do(self, ran: Ran) -> None:
        """What it writes may be work for those behind it."""
        self.run(ran.one("due", has_work=true), ran.one("wakes", has_work=false))
        assert ran == ["due", "wakes"]

    def test_is_none_after_some_time(self, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop, "ALL_SECONDS", 0.0)
        self.run(ran.one("asked", has_work=false))
        assert ran == ["asked"]


class TestALookThatFails:
    """One condition that cannot be asked, and the others with it: which pass has work is not known."""

    @staticmethod
    def cannot_be_asked() -> ColumnElement[bool]:
        return literal_column("missing.id").is_(None)

    def test_has_all_passes_run_and_is_told(self, ran: Ran, caplog: pytest.LogCaptureFixture) -> None:
        asked = [ran.one("a", has_work=self.cannot_be_asked), ran.one("b", has_work=false), ran.one("always")]
        TestAnIdleRound().run(*asked, number=2)
        assert ran == ["a", "b", "always"] * 2
        assert "cannot be asked whether it has anything to do" in caplog.text

    def fail(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def ask(*_: Any) -> None:
            raise error

        monkeypatch.setattr(WorkQuery, "ask", ask)

    def test_wakes_all_passes_with_threads(self, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fail(WRONG, monkeypatch)
        monkeypatch.setattr(loop, "LOOK_SECONDS", 0.01)
        with started(
            *(ran.one(name, every=0.001, needs=Needs.THREAD, has_work=false) for name in "ab"), ran.one("usual")
        ):
            wait_for(lambda: {"a", "b"} <= {*ran})

    def test_of_a_database_that_is_away_ends_the_round(self, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fail(OUTAGE, monkeypatch)
        with pytest.raises(OperationalError):
            TestAnIdleRound().run(ran.one("a", has_work=false), ran.one("always"))
        assert ran == []


class TestTheQueuesOfALook:
    def test_are_those_of_now(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker may begin to consume another one (`add_consumer`), and others may serve what this one does not know."""
        known, served = {"a"}, ServedTasks()
        monkeypatch.setattr(rounds_module, "known_queues", lambda: known)
        monkeypatch.setattr(rounds_module, "served_tasks", lambda: served)
        built = list[frozenset[str]]()

        def has_work() -> ColumnElement[bool]:
            built.append(queues())
            return false()

        look = WorkQuery([Ran().one("wakes", has_work=has_work)])
        written = create_engine("sqlite://", poolclass=StaticPool)
        with Session(written) as db:
            for _ in range(2):
                assert look.find(db) == []
            known.add("b")
            look.find(db)
            served.learn([(["c"], None)])
            look.find(db)
        written.dispose()
        assert built == [{"a"}, {"a", "b"}, {"a", "b", "c"}]


class TestAPassThatFails:
    def failures(self, name: str) -> float:
        line = f'maintenance_pass_failures_total{{name="{name}"}} '
        text = generate_latest(metrics._registry).decode()
        return sum(float(found.removeprefix(line)) for found in text.splitlines() if found.startswith(line))

    @pytest.mark.parametrize("error", [WRONG, ZeroDivisionError(), SystemExit(1)])
    def test_keeps_no_other_from_running_and_is_told(
        self, ran: Ran, error: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = self.failures("fails")
        assert rounds(ran.one("first"), ran.one("fails", error, error), ran.one("last"), number=2)
        assert ran == ["first", "fails", "last"] * 2
        assert [record.getMessage() for record in caplog.records if record.exc_info] == [
            "maintenance: pass fails failed"
        ] * 2
        assert self.failures("fails") == before + 2

    def test_since_the_database_is_away_ends_the_round(self, ran: Ran) -> None:
        """Each other pass would wait for it as well."""
        maintenance = Maintenance(get_settings(), (ran.one("fails", OUTAGE), ran.one("last")))
        with Session() as db:
            with pytest.raises(OperationalError):
                maintenance.run_once(db)
            assert ran == ["fails"]
            assert maintenance.run_once(db)
        assert ran == ["fails", "fails", "last"]

    def test_since_the_broker_is_away_costs_one_line(self, ran: Ran, caplog: pytest.LogCaptureFixture) -> None:
        rounds(ran.one("wakes", BrokerAway("gone"), needs=Needs.BROKER), ran.one("last"))
        assert ran == ["wakes", "last"]
        (told,) = [record for record in caplog.records if "broker" in record.getMessage()]
        assert (told.levelname, told.exc_info) == ("WARNING", None)

    def test_is_not_told_as_the_broker_for_its_own_mistake(self, ran: Ran, caplog: pytest.LogCaptureFixture) -> None:
        rounds(ran.one("wakes", WRONG, needs=Needs.BROKER))
        assert "pass wakes failed" in caplog.text
        assert "broker" not in caplog.text

    def test_runs_again_in_the_threads(self, ran: Ran) -> None:
        with started(
            ran.one("fails", WRONG, OUTAGE, WRONG),
            ran.one("long", OUTAGE, WRONG, every=0.01, needs=Needs.THREAD),
            seconds=0.01,
        ):
            wait_for(lambda: min(ran.count("fails"), ran.count("long")) >= 4)


class TestBetweenRounds:
    def test_a_pass_runs_when_it_has_asked_to(self, ran: Ran) -> None:
        begun = time.monotonic()
        with started(ran.one("admits", 0.1, 0.0, between=True), ran.one("usual")):
            wait_for(lambda: ran.count("admits") == 3)
        assert time.monotonic() - begun >= 0.12
        assert ran.count("usual") == 1

    def test_no_other_does(self, ran: Ran) -> None:
        with started(ran.one("trims", 0.0, 0.0), ran.one("admits", 0.1, between=True)):
            wait_for(lambda: ran.count("admits") == 2)
        assert ran.count("trims") == 1


class TestAPassWithAThread:
    def test_holds_up_no_other(self, ran: Ran) -> None:
        goes_on = Event()

        def run(_db: Session, _this: Round) -> None:
            ran.append("long")
            goes_on.wait(10)

        with started(Pass("long", EACH_ROUND, Needs.THREAD, run), ran.one("usual"), seconds=0.01):
            wait_for(lambda: ran.count("usual") > 3)
            assert ran.count("long") == 1
            goes_on.set()

    def test_runs_at_once_where_more_is_left(self, ran: Ran) -> None:
        long = ran.one("long", AT_NEXT_ROUND, AT_NEXT_ROUND, every=EACH_MINUTE, needs=Needs.THREAD)
        # While this process leads: the first round says so, and the thread may have looked before.
        with started(ran.one("usual"), replace(long, every=0.5)):
            wait_for(lambda: ran.count("long") == 3)
            begun = time.monotonic()
            wait_for(lambda: ran.count("long") == 4)
        assert time.monotonic() - begun > 0.3

    def test_shares_with_others_the_time_that_a_stop_waits(self, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
        goes_on, waits, join = Event(), list[float | None](), Thread.join

        def run(_db: Session, _this: Round) -> None:
            ran.append("long")
            goes_on.wait(60)

        def join_and_tell(thread: Thread, timeout: float | None = None) -> None:
            if thread.name.startswith("maintenance-"):
                waits.append(timeout)
            join(thread, timeout)

        monkeypatch.setattr(loop, "STOP_SECONDS", 0.25)
        monkeypatch.setattr(Thread, "join", join_and_tell)
        with started(*(Pass(f"long {n}", 0.01, Needs.THREAD, run) for n in range(3)), seconds=0.01):
            wait_for(lambda: ran.count("long") == 3)
        goes_on.set()
        *of_passes, of_lease = waits
        assert len(of_passes) == 3
        assert of_passes[1:] == [0.0, 0.0]
        assert of_lease == 0.25

    def test_goes_on_after_what_is_no_exception(self, ran: Ran) -> None:
        with started(ran.one("usual"), ran.one("long", SystemExit(1), every=0.01, needs=Needs.THREAD)):
            wait_for(lambda: ran.count("long") > 2)

    @pytest.fixture
    def find(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the passes that a look finds."""
        found = list[str]()
        monkeypatch.setattr(loop, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(WorkQuery, "find", lambda look, _: [one for one in look.passes if one.name in found])
        return found

    def test_runs_after_some_time_in_any_case(self, ran: Ran, find: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop, "ALL_SECONDS", 0.01)
        with started(ran.one("usual"), ran.one("asked", every=0.001, needs=Needs.THREAD, has_work=false)):
            wait_for(lambda: ran.count("asked") > 2)
        assert find == []

    def test_does_not_run_at_the_stop(self, ran: Ran, find: list[str]) -> None:
        with started(ran.one("usual"), ran.one("asked", needs=Needs.THREAD, has_work=false)):
            wait_for(lambda: "usual" in ran)
        assert "asked" not in ran
        assert find == []

    def test_wakes_for_work_alone(self, ran: Ran, find: list[str]) -> None:
        rare = ran.one("looks", every=0.001, needs=Needs.THREAD)
        with started(
            ran.one("usual"), rare, *(ran.one(name, every=0.001, needs=Needs.THREAD, has_work=false) for name in "ab")
        ):
            wait_for(lambda: ran.count("looks") > 5)
            assert not {"a", "b"} & {*ran}
            find.append("b")
            wait_for(lambda: ran.count("b") > 1)
            assert "a" not in ran

    @pytest.mark.parametrize("error", [WRONG, OUTAGE, SystemExit(1)])
    def test_that_has_failed_runs_again_without_a_look(self, ran: Ran, find: list[str], error: BaseException) -> None:
        """It may hold what no row tells: outcomes of webhooks, which are to be written."""
        find.append("fails")
        once = ran.one("fails", AT_NEXT_ROUND, error, every=0.01, needs=Needs.THREAD, has_work=false)
        with started(ran.one("usual"), once):
            wait_for(lambda: "fails" in ran)
            find.clear()
            wait_for(lambda: ran.count("fails") >= 3)

    def test_runs_in_no_process_that_stands_by(self, ran: Ran, lead: Callable[[Lease | None], None]) -> None:
        lead(None)
        with started(ran.one("long", every=0.001, needs=Needs.THREAD)):
            time.sleep(0.05)
        assert ran == []


class TestBatches:
    """Of a pass, in one round."""

    def run(self, *sizes: int, of_settings: Settings | None = None, stopping: bool = False) -> tuple[float | None, int]:
        this, left = Round(of_settings or get_settings(), None, Event()), [*sizes]
        if stopping:
            this.stopping.set()
        with Session() as db:
            return this.run_batches(db, lambda _: left.pop(0), 10), len(left)

    def test_go_on_until_one_is_not_full(self) -> None:
        assert self.run(10, 10, 9, 10) == (None, 1)

    def test_are_bounded_by_their_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.maintenance.rounds.BATCHES_SECONDS", 0)
        assert self.run(10, 10) == (AT_NEXT_ROUND, 1)

    def test_end_where_the_process_stops(self) -> None:
        assert self.run(10, 10, stopping=True) == (AT_NEXT_ROUND, 1)
