"""Parts that die are started again, later each time, and stopped in order."""

import signal

import pytest

from app.launcher import supervisor as module
from app.launcher.console import Console as WholeConsole
from app.launcher.errors import LauncherError
from app.launcher.server import STOP_ORDER
from app.launcher.supervisor import StopRequest, Supervisor, Watched, how_it_ended


class Console:
    def __init__(self):
        self.lines = []

    def say(self, line=""):
        self.lines.append(line)

    def part(self, name, line):
        self.lines.append(f"{name} | {line}")

    step = WholeConsole.step


class FakePart:
    def __init__(self, name, journal):
        self.name, self.journal, self.code, self.refuses = name, journal, None, False

    def start(self):
        self.journal.append(f"start {self.name}")
        if self.refuses:
            raise LauncherError("port taken")
        self.code = None

    def poll(self):
        return self.code

    def stop(self, *, hurry):
        self.code = self.code or 0
        self.journal.append(f"stop {self.name}{' in a hurry' if hurry() else ''}")

    def leave(self):
        self.journal.append(f"leave {self.name}")

    def terminate(self):
        self.journal.append(f"terminate {self.name}")

    def tail(self, lines=5):
        return ["last words"]


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def console():
    return Console()


@pytest.fixture
def supervisor(console, clock):
    return Supervisor(console, StopRequest(console))


@pytest.fixture
def journal():
    """What became of the parts."""
    return []


def test_a_part_that_dies_is_started_again_with_lines_that_say_so(supervisor, console, journal, clock):
    part = FakePart("beat", journal)
    supervisor.start(part)
    part.code = 3
    supervisor.look()
    assert console.lines == ["beat | last words", "beat ended with exit code 3: starting it again now"]
    assert (supervisor.exit_code("beat"), supervisor.last_line("beat")) == (3, "last words")
    supervisor.look()
    assert journal == ["start beat"] * 2
    assert console.lines[-1] == "beat runs again"
    part.code = 3
    supervisor.look()
    assert console.lines[-1] == "beat ended with exit code 3: starting it again in 2 s"
    clock.now += 1.9
    supervisor.look()
    assert journal == ["start beat"] * 2
    clock.now += 0.2
    supervisor.look()
    assert journal == ["start beat"] * 3


def test_a_part_that_another_one_needs_is_started_again_at_once(supervisor, console, journal, clock):
    part, other = FakePart("fork-server", journal), FakePart("api", journal)
    supervisor.start(part)
    supervisor.start(other)
    supervisor.revive("fork-server")
    supervisor.revive("unknown")
    part.code = other.code = -9
    supervisor.revive("fork-server")
    assert journal == ["start fork-server", "start api", "start fork-server"]
    said = ["fork-server | last words", "fork-server was ended by SIGKILL: starting it again now"]
    assert console.lines == [*said, "fork-server runs again"]
    part.code = -9
    supervisor.look()
    supervisor.revive("fork-server")  # in its pause
    assert journal.count("start fork-server") == 3


@pytest.mark.parametrize("code", [3, 0])
def test_a_part_that_was_started_again_is_left_alone_while_it_runs(supervisor, console, journal, clock, code):
    """One that ended by itself, such as a worker that was drained, as well."""
    part = FakePart("beat", journal)
    supervisor.start(part)
    part.code = code
    supervisor.look()
    for _ in range(5):
        clock.now += 1.1
        supervisor.look()
    assert journal == ["start beat", "start beat"]
    assert console.lines.count("beat runs again") == 1


def test_a_start_that_fails_is_tried_again(supervisor, console, journal, clock):
    part = FakePart("database", journal)
    supervisor.start(part)
    part.code, part.refuses = -9, True
    supervisor.look()
    clock.now += 1.1
    supervisor.look()
    assert console.lines[-1] == "database did not start (port taken): starting it again in 2 s"
    part.refuses = False
    clock.now += 2.1
    supervisor.look()
    assert console.lines[-1] == "database runs again"


def test_the_second_pause_is_doubled_to_half_a_minute_and_none_comes_first_after_a_steady_minute(clock):
    watched = Watched(FakePart("api", []))
    assert [watched.died(clock.now) for _ in range(7)] == [0, 2, 4, 8, 16, 30, 30]
    assert watched.died(clock.now + 61) == 0


def test_parts_stop_group_by_group(supervisor, journal):
    for name in ("database", "broker", "api", "worker1", "express", "beat"):
        supervisor.start(FakePart(name, journal))
    journal.clear()
    supervisor.stop(*STOP_ORDER)
    assert journal[:2] == ["stop api", "stop beat"]
    assert sorted(journal[2:4]) == ["stop express", "stop worker1"]
    assert journal[4:] == ["stop broker", "stop database"]


def test_a_part_whose_first_start_failed_is_stopped_as_well(supervisor, journal):
    part = FakePart("database", journal)
    part.refuses = True
    with pytest.raises(LauncherError):
        supervisor.start(part)
    supervisor.stop(["database"])
    assert journal == ["start database", "stop database"]


class TestReplacing:
    def test_stops_the_part_of_the_name_before_the_other_one_starts(self, supervisor, journal):
        supervisor.replace(FakePart("api", journal))
        supervisor.replace(FakePart("api", journal))
        assert journal == ["start api", "stop api", "start api"]
        supervisor.look()
        assert len(journal) == 3

    def test_starts_again_what_did_not_start(self, supervisor, console, journal, clock):
        """The others go on: a full disk at a reload ends no service."""
        part = FakePart("worker1", journal)
        part.refuses = True
        supervisor.replace(part)
        assert console.lines == ["worker1 | last words", "worker1 did not start (port taken): starting it again now"]
        part.refuses = False
        supervisor.look()
        assert journal[-1] == "start worker1"

    def test_adopts_what_runs_already(self, supervisor, journal):
        supervisor.start(FakePart("fork-server", journal))
        fresh = FakePart("fork-server", journal)
        supervisor.adopt(fresh)
        assert journal == ["start fork-server", "stop fork-server"]
        fresh.code = 1
        supervisor.look()
        supervisor.look()
        assert journal[2:] == ["start fork-server"]

    def test_a_part_that_leaves_keeps_its_name_until_it_has_ended_and_is_not_started_again(
        self, supervisor, console, journal
    ):
        old = FakePart("worker1", journal)
        assert supervisor.free_name("worker1") == "worker1"
        supervisor.start(old)
        supervisor.let_leave(old)
        assert supervisor.free_name("worker1") == "worker1-2"
        supervisor.start(FakePart("worker1-2", journal))
        assert supervisor.free_name("worker1") == "worker1-3"
        supervisor.look()
        old.code = 0
        supervisor.look()
        assert journal == [
            "start worker1",
            "leave worker1",
            "start worker1-2",
            "stop worker1",
        ]  # what it has left of its group
        assert console.lines == []
        assert supervisor.free_name("worker1") == "worker1"

    def test_a_part_that_is_dead_leaves_at_once(self, supervisor, journal, clock):
        old = FakePart("worker1", journal)
        supervisor.start(old)
        for _ in range(3):
            old.code = 1
            supervisor.look()
        old.code = 1
        supervisor.let_leave(old)
        clock.now += 60
        supervisor.look()
        assert journal == ["start worker1", "start worker1", "leave worker1", "stop worker1"]

    def test_of_too_many_that_leave_the_oldest_is_terminated_once(self, supervisor, console, journal):
        parts = [FakePart(f"worker{number}", journal) for number in range(module.MOST_LEAVING + 2)]
        *earlier, last_but_one, last = parts
        for part in parts:
            supervisor.start(part)
        for part in earlier:
            supervisor.let_leave(part)
        assert console.lines == []
        supervisor.let_leave(last_but_one)
        supervisor.let_leave(last_but_one)
        assert [line for line in journal if line.startswith("terminate")] == ["terminate worker0"]
        assert console.lines == ["worker0 is the oldest of too many that end their tasks: terminated"]
        parts[0].code = 0
        supervisor.look()
        supervisor.let_leave(last)
        assert journal[-2:] == ["leave worker9", "terminate worker1"]

    def test_a_part_that_leaves_is_stopped_with_the_others(self, supervisor, journal):
        parts = [FakePart(name, journal) for name in ("worker1", "worker1-2")]
        for part in parts:
            supervisor.start(part)
        supervisor.let_leave(parts[0])
        supervisor.stop(*STOP_ORDER)
        assert sorted(journal[3:]) == ["stop worker1", "stop worker1-2"]


def test_the_first_signal_asks_and_the_second_hurries():
    stop = StopRequest(Console())
    assert not stop.requested
    stop._received(signal.SIGINT, None)
    assert stop.requested
    assert not stop.hurry()
    stop._received(signal.SIGTERM, None)
    assert stop.hurry()


@pytest.mark.parametrize(
    ("code", "words"), [(0, "ended with exit code 0"), (-9, "was ended by SIGKILL"), (-250, "was ended by signal 250")]
)
def test_how_a_part_ended_is_said_in_words(code, words):
    assert how_it_ended(code) == words
