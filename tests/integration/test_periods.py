"""Beat's schedule with its memory in the database: each period once, whichever beat sends it."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery.beat import SchedulingError
from sqlalchemy.orm import Session

from app.beat import periods, scheduler as module
from app.beat.scheduler import SIGNALS, OncePerPeriod
from app.celery_app import celery_app
from app.db.session import dispose_engine
from tests.support.services import environment
from tests.support.settings import settings, sql

HOUR = timedelta(hours=1)
ENTRY = {"task": "tests.nothing", "schedule": HOUR}


class Beat(OncePerPeriod):
    """Notes what it would send; `broken` is a broker that is away."""

    def __init__(self, file: Path) -> None:
        self.sent: list[str] = []
        self.broken = False
        self.connect: Callable[[], object] = lambda: None
        super().__init__(app=celery_app, schedule_filename=str(file))

    @property
    def producer(self) -> None:
        self.connect()

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> None:
        if self.broken:
            raise SchedulingError("no broker")
        self.sent.append(entry.name)

    def run(self, ticks: int = 6) -> list[str]:
        for _ in range(ticks):
            self.tick()
        return self.sent


@pytest.fixture
def beats(fresh_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`beats()` starts one more."""
    del fresh_database
    monkeypatch.setitem(celery_app.conf, "beat_schedule", {"hourly": ENTRY, "also-hourly": ENTRY})
    made: list[Beat] = []

    def make() -> Beat:
        made.append(Beat(tmp_path / f"schedule-{len(made)}"))
        made[-1].run()
        return made[-1]

    yield make
    for beat in made:
        beat.close()


def test_what_ends_with_the_beat_is_called_once(beats: Any) -> None:
    beat, ended = beats(), list[int]()
    beat.at_close.append(lambda: ended.append(1))
    for _ in range(2):  # Celery closes it at the signal, and at the end
        beat.close()
    assert ended == [1]


def age(seconds: float, name: str | None = None) -> None:
    """Let the entries have fired so long ago."""
    statement = (
        "UPDATE periods SET fired_at = now() - make_interval(secs => :seconds) WHERE name = coalesce(:name, name)"
    )
    sql(statement, seconds=seconds, name=name)


@pytest.mark.parametrize("backend", [None, "db+sqlite://"])
def test_a_result_backend_is_cleared_where_there_is_one(
    beats: Any, monkeypatch: pytest.MonkeyPatch, backend: str | None
) -> None:
    monkeypatch.setitem(celery_app.conf, "result_backend", backend)
    assert ("celery.backend_cleanup" in beats().schedule) == (backend is not None)


def test_a_new_entry_counts_from_now(beats: Any) -> None:
    assert beats().run() == []


def test_of_several_beats_one_fires_each_period(beats: Any) -> None:
    several = [beats() for _ in range(3)]
    for _ in range(2):
        age(3601)
        for beat in several:
            beat.populate_heap()
            beat.run()
    assert sorted(name for beat in several for name in beat.sent) == ["also-hourly"] * 2 + ["hourly"] * 2


def test_a_restarted_beat_knows_what_has_fired(beats: Any) -> None:
    beats()
    age(3601)
    assert sorted(beats().run()) == ["also-hourly", "hourly"]
    assert beats().run() == []


def test_a_clock_that_is_wrong_fires_nothing_early(beats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(module.datetime):  # type: ignore[name-defined]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + timedelta(hours=2)

    beats()
    age(1800)
    monkeypatch.setattr(module, "datetime", Ahead)
    beat = beats()
    beat.populate_heap()
    assert beat.run() == []


def test_what_could_not_be_sent_stays_due(beats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    beat = beats()
    age(3601, "hourly")
    beat.populate_heap()
    beat.broken = True
    assert beat.run() == []
    assert beats().run() == ["hourly"]  # another one, which reaches the broker
    beat.broken = False
    beat.populate_heap()
    assert beat.run() == []


def test_what_could_not_be_sent_is_sent_by_the_same_beat_once_the_broker_is_back(
    beats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    beat = beats()
    age(3601, "hourly")
    beat.populate_heap()
    beat.broken = True
    assert beat.run() == []
    beat.broken = False
    assert beat.run() == ["hourly"]


class TestABeatThatIsToldToStop:
    @pytest.fixture(autouse=True)
    def handlers(self) -> Iterator[None]:
        """As Celery's, for SIGTERM and SIGINT."""

        def stop(*_: object) -> None:
            raise SystemExit

        before = {number: signal.signal(number, stop) for number in SIGNALS}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    @pytest.fixture
    def beat(self, beats: Any) -> Any:
        """One that finds an entry due."""
        started = beats()
        age(3601, "hourly")
        started.populate_heap()
        return started

    @pytest.mark.parametrize("number", SIGNALS)
    def test_after_it_has_taken_an_entry_sends_it_first(
        self, beats: Any, beat: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
    ) -> None:
        take = periods.take

        def take_and_be_stopped(*arguments: Any) -> Any:
            taken = take(*arguments)
            signal.raise_signal(number)
            return taken

        monkeypatch.setattr(periods, "take", take_and_be_stopped)
        with pytest.raises(SystemExit):
            beat.run()
        assert beat.sent == ["hourly"]
        monkeypatch.setattr(periods, "take", take)
        assert beats().run() == []

    def test_while_it_waits_for_the_broker_takes_nothing(self, beats: Any, beat: Any) -> None:
        beat.connect = partial(signal.raise_signal, signal.SIGTERM)
        with pytest.raises(SystemExit):
            beat.run()
        assert beat.sent == []
        assert beats().run() == ["hourly"]

    def test_that_cannot_send_leaves_the_entry_to_another(
        self, beats: Any, beat: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail_and_be_stopped(*_: Any, **__: Any) -> None:
            signal.raise_signal(signal.SIGTERM)
            raise SchedulingError("no broker")

        monkeypatch.setattr(beat, "apply_async", fail_and_be_stopped)
        with pytest.raises(SystemExit):
            beat.run()
        assert beats().run() == ["hourly"]

    @pytest.mark.parametrize("number", SIGNALS)
    def test_between_two_entries_stops_at_once(self, beat: Any, number: signal.Signals) -> None:
        assert beat.run() == ["hourly"]
        with pytest.raises(SystemExit):
            signal.raise_signal(number)

    @pytest.mark.parametrize("number", SIGNALS)
    def test_after_a_tick_that_failed_stops_at_once(
        self, beat: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
    ) -> None:
        monkeypatch.setattr(beat, "apply_async", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            beat.run()
        with pytest.raises(SystemExit):
            signal.raise_signal(number)

    def test_twice_sends_it_all_the_same(self, beat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        take = periods.take

        def take_and_be_stopped(*arguments: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            return take(*arguments)

        monkeypatch.setattr(periods, "take", take_and_be_stopped)
        with pytest.raises(SystemExit):
            beat.run()
        assert beat.sent == ["hourly"]

    def test_in_a_thread_works_as_ever(self, beat: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(beat.run).result(20) == ["hourly"]


def test_a_broker_that_cannot_be_used_is_told_and_asked_again(
    beats: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    beat = beats()
    age(3601, "hourly")
    beat.populate_heap()
    beat.connect = lambda: int("no database of this name")
    assert beat.run() == []
    assert "beat: the broker cannot be used: " in caplog.text
    beat.connect = lambda: None
    assert beat.run() == ["hourly"]


def test_without_a_database_nothing_fires_and_beat_lives(beats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    beat = beats()
    age(3601)
    with settings(environment("postgresql://nobody@127.0.0.1:1/none", "memory://")):
        beat.populate_heap()
        assert beat.run() == []
    dispose_engine()
    beat.populate_heap()
    assert sorted(beat.run()) == ["also-hourly", "hourly"]


def test_taking_is_for_one(db: Session) -> None:
    fired_at, _ = periods.last_fired(db, "hourly")
    taken = [periods.take(db, "hourly", fired_at) for _ in range(3)]
    assert taken[0] is not None
    assert taken[1:] == [None, None]
    assert periods.give_back(db, "hourly", taken[0], fired_at)
    assert periods.take(db, "hourly", fired_at)


def test_what_was_fired_later_is_not_given_back(db: Session) -> None:
    """A beat whose broker answered only after the next period: to give its own one back would fire that one twice."""
    fired_at, _ = periods.last_fired(db, "hourly")
    slow = periods.take(db, "hourly", fired_at)
    assert slow is not None
    quick = periods.take(db, "hourly", slow)
    assert not periods.give_back(db, "hourly", slow, fired_at)
    assert periods.last_fired(db, "hourly")[0] == quick
