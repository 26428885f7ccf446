"""Clocks that are wrong, maintenance leaders and beats that die, and times that must outlive everything: rows 24 and 27, and more."""

import logging
import re
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import ENGINE
from tests.support.faults import hourly
from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.clocks import HOUR, WrongClock
from tests.support.faults.load import load
from tests.support.faults.scene import SHORT_LEASE, Scene, fault_scene
from tests.support.running import TASKS
from tests.support.services import Services
from tests.support.spelling import id_of
from tests.support.stack import Part
from tests.support.waiting import wait_for, waited

logger = logging.getLogger(__name__)

LEASE = float(SHORT_LEASE["WORKER_LEASE_SECONDS"])
# How late a task may start where a promise holds to the second: one maintenance pass, one message, and a busy machine.
PROMPTLY = 2.0
# So long after their creation tasks come due that must not before all processes are killed.
AFTER_THE_KILLS = 5.0
# How many of those to come are waited for, once all is up again.
FEW = 4
# How long a leader may be frozen again and again before it is given the time for a pass.
REST_SECONDS = 1.0


def when(task: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(task[name])


def late(task: dict[str, Any]) -> float:
    """How many seconds after its `run_at` it started."""
    return (when(task, "started_at") - when(task, "run_at")).total_seconds()


@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no server: its clock is that of each process's machine")
class TestWrongClocks:
    """Row 24: two workers, two hours ahead and two hours behind, each with queues of its own.

    The database's clock decides: neither of them may start a task too early, or take it for expired, or be taken for
    silent.
    """

    QUEUES = ("high_priority,default", "low_priority")
    PRIORITIES = ("normal", "low")

    @pytest.fixture(scope="class")
    @classmethod
    def clocks(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WrongClock, WrongClock]]:
        directory, begun = tmp_path_factory.mktemp("clocks"), time.time()
        yield WrongClock(directory / "ahead", 2), WrongClock(directory / "behind", -2)
        WrongClock.remove_leftovers(begun)

    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls, clocks: tuple[WrongClock, WrongClock], class_scene: Scene) -> Scene:
        for clock, queues in zip(clocks, cls.QUEUES, strict=True):
            class_scene.stack.worker(concurrency=2, queues=queues, env=clock.environment)
        return class_scene

    def test_row_24_a_worker_whose_clock_is_2_h_off_keeps_its_tasks_and_times(self, scene: Scene, gate: Path) -> None:
        held = self._hold(scene, gate)
        in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        delayed, planned, retried = (
            [scene.work(**options, fields=fields | {"priority": priority}) for priority in self.PRIORITIES]
            for options, fields in (
                ({}, {"delay_seconds": 1, "expires_at": in_an_hour}),
                ({}, {"run_at": in_an_hour}),
                ({"fail": True}, {"max_attempts": 2, "retry_backoff_seconds": 1}),
            )
        )
        try:
            for task_id in delayed:
                task = scene.ended(task_id)
                assert (task["status"], task["attempt"]) == ("succeeded", 1)
                assert 0 <= late(task) < 4  # and not as late as a message that a worker has refused is sent again
            assert {scene.ended(task_id)["attempt"] for task_id in retried} == {2}
            self._outlive_the_lease(scene, held)
            gate.touch()
            self._see_them_end(scene, held)
        finally:  # the next test waits for the end of all tasks
            gate.touch()
            cancelled = [scene.post(task_id, "cancel").json()["status"] for task_id in planned]
        assert cancelled == ["revoked"] * len(planned)
        assert {round((line.time - time.time()) / HOUR) for line in scene.lines()} == {2, -2}
        scene.check()

    def test_row_24_nor_does_a_clock_that_jumps_do_harm(
        self, scene: Scene, clocks: tuple[WrongClock, WrongClock], gate: Path
    ) -> None:
        held = self._hold(scene, gate)
        for clock, hours in zip(clocks, (-2, 2), strict=True):
            clock.jump(hours)
        self._outlive_the_lease(scene, held)
        gate.touch()
        self._see_them_end(scene, held)
        scene.check()
        jumps = {round((scene.lines(task_id)[-1].time - scene.started(task_id).time) / HOUR) for task_id in held}
        assert jumps == {4, -4}

    def _hold(self, scene: Scene, gate: Path) -> list[str]:
        """A task that runs on each of the two workers."""
        held = [scene.create("ledger.gate", gate=str(gate), fields={"priority": each}) for each in self.PRIORITIES]
        for task_id in held:
            scene.started(task_id)
        return held

    @staticmethod
    def _outlive_the_lease(scene: Scene, held: list[str]) -> None:
        """Each still runs, as the same attempt, when a lease that was not renewed would be over."""
        for task_id in held:
            over = when(scene.get(task_id), "started_at") + timedelta(seconds=LEASE + 2)
            wait_for(lambda: scene.stack.now() > over, 30, "a lease to be over")  # noqa: B023
            assert (scene.status(task_id), scene.get(task_id)["attempt"]) == ("running", 1)

    @staticmethod
    def _see_them_end(scene: Scene, held: list[str]) -> None:
        for task_id in held:
            ended = scene.ended(task_id)
            assert (ended["status"], ended["attempt"]) == ("succeeded", 1)


@pytest.fixture(scope="module")
def several(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """For several processes that may lead the maintenance, and then several beats."""
    with fault_scene(services, tmp_path_factory.mktemp("several"), RETENTION_DAYS="1") as scene:
        yield scene


def living_workers(scene: Scene) -> list[Part]:
    return [part for part in scene.stack.parts if part.running and part.name.startswith("worker")]


class TestTheLeader:
    @pytest.mark.every_engine("kill of the maintenance leader")
    def test_row_27_killed_or_frozen_it_is_replaced_within_5_s(self, several: Scene) -> None:
        scene = several
        first = scene.stack.worker(concurrency=2)
        wait_for(lambda: self._leads(scene, first), 20, "a leader")
        beat = scene.stack.beat()
        wait_for(lambda: self._leads(scene, beat), 20, "the beat to lead in the worker's place")
        wait_for(lambda: " stands by" in first.output(), 20, "the worker to stand by")
        took, leader, other = list[float](), first, beat
        freezes = ENGINE != "sqlite"  # where one that is frozen while it writes holds all others up
        with load(scene, delay_seconds=0.2):  # which a leader has to send
            if freezes:
                took.append(self._replaced(scene, beat, signal.SIGSTOP, by=first))
                wait_for(lambda: self._leads(scene, beat), 20, "the woken beat to lead again")
            took.append(self._replaced(scene, beat, signal.SIGKILL, by=first))
            other = scene.stack.worker(concurrency=2)
            if freezes:
                took.append(self._replaced(scene, first, signal.SIGSTOP, by=other))
                wait_for(lambda: self._leads(scene, other), 20, "the other worker to go on leading")
                leader, other = other, leader
            took.append(self._replaced(scene, leader, signal.SIGKILL, by=other))
        logger.info("seconds without a leader: %s", took)
        scene.check()

    @pytest.mark.postgresql("its views tell who is within a transaction")
    def test_row_27_frozen_within_its_own_transaction_it_is_replaced_as_well(self, several: Scene) -> None:
        """A lease row that a frozen leader keeps locked would keep it in office."""
        scene = several
        workers = living_workers(scene)
        workers += [scene.stack.worker(concurrency=1) for _ in range(len(workers), 2)]
        (leader,) = wait_for(lambda: [part for part in workers if self._leads(scene, part)], 20, "a leader")
        (other,) = (part for part in workers if part is not leader)
        renewed, rest_at = self._renewed_at(scene), time.monotonic() + REST_SECONDS
        for _ in range(400):
            leader.send(signal.SIGSTOP)
            if self._is_within_a_transaction(scene):
                break
            leader.send(signal.SIGCONT)
            if time.monotonic() > rest_at:  # else, on a busy machine, all this freezing would cost it the lease
                wait_for(lambda: self._renewed_at(scene) > renewed, 10, "the leader to go on")  # noqa: B023
                renewed, rest_at = self._renewed_at(scene), time.monotonic() + REST_SECONDS
        self._replaced(scene, leader, signal.SIGSTOP, by=other)
        scene.check()

    @staticmethod
    def _renewed_at(scene: Scene) -> datetime:
        return scene.stack.sql("SELECT renewed_at FROM maintenance_lease")[0][0]

    @staticmethod
    def _is_within_a_transaction(scene: Scene) -> bool:
        """Whether a session that does not go on has the lease locked. The leader may never do so."""
        idle = """SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)
                  WHERE datname = current_database() AND state = 'idle in transaction' AND relation = 'maintenance_lease'::regclass AND mode = 'RowExclusiveLock'"""
        return bool(scene.stack.sql(idle)[0][0])

    def _replaced(self, scene: Scene, leader: Part, number: signal.Signals, by: Part) -> float:
        """How long the other one took to lead."""
        assert self._leads(scene, leader)
        begun = time.monotonic()
        leader.send(number)
        try:
            wait_for(lambda: not self._leads(scene, leader), 5, f"a leader after {leader.name}")
            took = time.monotonic() - begun
            wait_for(lambda: self._leads(scene, by), 20, f"{by.name} to say that it leads")
        finally:
            leader.send(signal.SIGCONT)
        return took

    @staticmethod
    def _leads(scene: Scene, part: Part) -> bool:
        """By the database: maintenance that holds the lease is the one that this part's log names."""
        holder = scene.stack.sql("SELECT holder FROM maintenance_lease")
        return bool(holder) and f"maintenance {id_of(holder[0][0])} leads" in part.output()


@pytest.mark.postgresql("it disables triggers, to make a task that ended long ago")
class TestBeats:
    """Three at once, when the database says that every entry was last sent two hours ago."""

    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls, several: Scene) -> Scene:
        """Two tasks have ended, the first of them long ago; then the beats are started."""
        if not living_workers(several):
            several.stack.worker(concurrency=1)
        ids = [several.work(), several.work()]
        for task_id in ids:
            several.ended(task_id)
        # The service never does this: the guard is not to see it, and the witness is to take it for the task's end.
        several.stack.sql("ALTER TABLE tasks DISABLE TRIGGER tasks_guard, DISABLE TRIGGER witness")
        several.stack.sql("UPDATE tasks SET finished_at = now() - interval '2 days' WHERE id = :id", id=ids[0])
        several.stack.sql("ALTER TABLE tasks ENABLE TRIGGER tasks_guard, ENABLE TRIGGER witness")
        last = "SELECT max(seq) FROM witness WHERE task_id = :id"
        row = "SELECT to_jsonb(tasks) FROM tasks WHERE id = :id"
        several.stack.sql(f"UPDATE witness SET new = ({row}) WHERE seq = ({last})", id=ids[0])
        fired = """INSERT INTO periods (name, fired_at) VALUES (:name, now() - interval '2 hours')
                   ON CONFLICT (name) DO UPDATE SET fired_at = excluded.fired_at"""
        for name in hourly.NAMES:
            several.stack.sql(fired, name=name)
        beats = [cls._start_one(several, several.stack.directory / f"schedule-{number}") for number in range(3)]
        for beat in beats:
            beat.await_line("beat: Starting...")
        return several

    def test_three_of_them_do_no_harm(self, scene: Scene) -> None:
        old, young = scene.accepted[-2:]
        wait_for(lambda: scene.http.get(TASKS + old).status_code == 404, 20, "the old one to be purged")
        scene.check(deleted=(old,))
        assert scene.get(young)["status"] == "succeeded"

    @pytest.mark.parametrize("name", hourly.NAMES)
    def test_three_of_them_fire_each_period_once(self, scene: Scene, name: str) -> None:
        wait_for(lambda: self._fired(scene, name), 20, f"{name} to fire")
        with pytest.raises(AssertionError, match=waited(3)):
            wait_for(lambda: self._fired(scene, name) > 1, 3, "it to fire a second time")

    @staticmethod
    def _fired(scene: Scene, name: str) -> int:
        """How often a worker has received it."""
        return sum(len(re.findall(rf"{name}\[\S+\] received", part.output())) for part in living_workers(scene))

    @staticmethod
    def _start_one(scene: Scene, schedule: Path) -> Part:
        """With a file of its own, as on a machine of its own."""
        options = ["-l", "info", "-s", str(schedule), "--pidfile="]
        return scene.stack.start_part(
            "beat", ["celery", "-A", "app.celery_app", "beat", *options], {"TASK_MODULES": hourly.MODULE}
        )


@pytest.mark.every_engine("expiry")
class TestExpiry:
    def test_what_expires_while_the_leader_dies_never_starts_and_ends_once(
        self, scene: Callable[..., Scene], gate: Path
    ) -> None:
        """One after another, some before the leader's death, others while none leads, others beside claims."""
        running = scene()
        first = running.stack.worker(concurrency=1)
        held = running.create("ledger.gate", kwargs={"gate": str(gate)})
        running.started(held)
        begin = datetime.now(UTC) + timedelta(seconds=1)
        times = [begin + timedelta(seconds=0.2 * number) for number in range(40)]
        own = [{"fields": {"expires_at": at.isoformat()}} for at in times]
        expiring = running.create_together(*[running.body("ledger.work", seconds=0.05, **each) for each in own])
        staying = running.create_together(*[running.body("ledger.work")] * 3)
        wait_for(lambda: self._expired(running), 20, "the first ones to expire")
        first.kill()
        gate.touch()
        running.stack.worker(concurrency=2)
        running.check()
        assert {running.get(task_id)["status"] for task_id in [held, *staying]} == {"succeeded"}
        ends = Counter((task["status"], task["status_reason"], task["attempt"]) for task in map(running.get, expiring))
        assert ends["revoked", "expired", 0] > 0
        assert set(ends) <= {("revoked", "expired", 0), ("succeeded", None, 1)}, ends
        until = dict(zip(expiring, times, strict=True))
        claims = [change for change in running.witness.changes() if change.claims and change.task_id in until]
        # The moment between the claim's look at the clock and its row.
        assert max((each.at - until[each.task_id].timestamp() for each in claims), default=0.0) < 0.5
        logger.info("%s", ends)

    @staticmethod
    def _expired(running: Scene) -> int:
        return int(running.stack.sql("SELECT count(*) FROM tasks WHERE status_reason = 'expired'")[0][0])


class TestARestartOfEverything:
    """Worker, beat, API and broker are killed and started again, the broker without its data."""

    def test_times_hold_to_the_second(self, services: Services, tmp_path: Path) -> None:
        with (
            BrokerServer(tmp_path / "broker") as broker,
            fault_scene(services, tmp_path / "scene", CELERY_BROKER_URL=broker.url) as scene,
        ):
            worker = scene.stack.worker(concurrency=2, queues="high_priority,default")
            parts = [worker, scene.stack.beat(), scene.stack.server()]
            to_come = self._to_come(scene)
            overdue = scene.work(fields={"delay_seconds": AFTER_THE_KILLS})
            # On a queue that no worker serves yet.
            expiring = scene.work(fields={"priority": "low", "expires_at": self._in(AFTER_THE_KILLS)})
            for part in parts:
                part.kill()
            broker.kill()
            self._let_time_pass(scene, overdue, expiring)
            broker.restart(empty=True)
            for part in (scene.stack.worker(concurrency=2), scene.stack.beat(), scene.stack.server()):
                assert part.running
            task = scene.ended(expiring)
            assert (task["status"], task["status_reason"], task["attempt"]) == ("revoked", "expired", 0)
            assert scene.ended(overdue)["attempt"] == 1
            self._see_them_start_in_time(scene, to_come)
            scene.check()

    @staticmethod
    def _in(seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()

    def _to_come(self, scene: Scene) -> list[str]:
        """Tasks due one after another, by either way to say so. The first ones may come due while everything is down."""
        moments = [10 + 2.5 * number for number in range(16)]
        ways = [{"delay_seconds": at} if number % 2 else {"run_at": self._in(at)} for number, at in enumerate(moments)]
        more = [{"expires_at": self._in(HOUR)} if number % 4 < 2 else {} for number in range(len(ways))]
        return [scene.work(fields=way | also) for way, also in zip(ways, more, strict=True)]

    @staticmethod
    def _let_time_pass(scene: Scene, overdue: str, expiring: str) -> None:
        """Until one is due and the other one has expired, while no process is there to notice."""
        passed = """SELECT count(*) FROM tasks WHERE status = 'pending' AND clock_timestamp() >
                    CASE WHEN id = :overdue THEN run_at WHEN id = :expiring THEN expires_at END"""
        times = {"overdue": overdue, "expiring": expiring}
        wait_for(lambda: scene.stack.sql(passed, **times)[0][0] == 2, 10, "their times to pass")

    @staticmethod
    def _see_them_start_in_time(scene: Scene, to_come: list[str]) -> None:
        unstarted = "SELECT id FROM tasks WHERE status = 'pending' AND run_at > clock_timestamp()"
        waiting = {str(id_of(row[0])) for row in scene.stack.sql(unstarted)}
        ahead = [task_id for task_id in to_come if task_id in waiting]
        assert len(ahead) >= 3, "everything is up too late for this test to tell"
        # There are so many for a machine on which all this takes longer.
        for task_id in ahead[FEW:]:
            assert scene.post(task_id, "cancel").status_code == 200
            to_come.remove(task_id)
        ahead = ahead[:FEW]
        tasks = {task_id: scene.ended(task_id) for task_id in to_come}
        assert {(task["status"], task["attempt"]) for task in tasks.values()} == {("succeeded", 1)}
        assert min(late(task) for task in tasks.values()) >= 0
        assert statistics.median(late(tasks[task_id]) for task_id in ahead) < PROMPTLY
