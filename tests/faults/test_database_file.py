"""SQLite, in the place of a server that is restarted: another program holds the file, a process dies as it writes."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.faults.engines import of_sqlite
from tests.support.faults.scene import DEFAULT_LEASE, Scene, counts, doomed, post
from tests.support.running import TASKS
from tests.support.waiting import wait_for, waited

pytestmark = [of_sqlite, pytest.mark.every_engine("restart of the database")]

LIMIT = {"DATABASE_STATEMENT_TIMEOUT_SECONDS": "2"}


@contextmanager
def locked(running: Scene) -> Iterator[None]:
    """Another program is the one that writes."""
    path = running.stack.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


class TestAnotherWriter:
    def test_posts_answer_503_and_workers_deliver_what_they_finished(
        self, scene: Callable[..., Scene], gate: Path
    ) -> None:
        """For longer than a statement waits."""
        running = scene(**DEFAULT_LEASE, **LIMIT)
        running.stack.worker(concurrency=2)
        held = running.create("ledger.deaf", kwargs={"gate": str(gate)})
        running.started(held)
        with locked(running):
            assert post(running) == 503
            gate.touch()
            wait_for(lambda: running.lines(held, "end"), 20, "the body to end")
            assert post(running) == 503
            assert running.http.get(TASKS + held).json()["status"] == "running"
        wait_for(lambda: post(running) == 201, 20, "a POST to be accepted again")
        running.check()
        assert running.outcomes(held) == ["succeeded"]

    def test_for_a_moment_costs_nobody_an_error(self, scene: Callable[..., Scene]) -> None:
        """For less than a statement waits: requests, claims and ends come later."""
        running = scene()
        worker = running.stack.worker(concurrency=2)
        running.ended(running.work())
        with ThreadPoolExecutor(4) as clients:
            with locked(running):
                answers = [clients.submit(running.work, seconds=0.02) for _ in range(8)]
                with pytest.raises(AssertionError, match=waited(1.5)):
                    wait_for(lambda: any(answer.done() for answer in answers), 1.5, "an answer")
            assert len({answer.result() for answer in answers}) == 8
        running.check()
        assert "database not reachable" not in worker.output()


class TestAWriterThatDies:
    def test_has_written_nothing_and_holds_nobody_up(self, scene: Callable[..., Scene]) -> None:
        """A child, between what its claim writes and the COMMIT."""
        running = scene()
        with doomed(running, "app.db.statements.claims:_write", "after") as await_death:
            task_id = running.work()
            await_death()
            running.check()
        assert counts(running, task_id) == ("succeeded", 1, 0, 0)
