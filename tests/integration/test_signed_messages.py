"""With SIGN_MESSAGES: all that the application sends runs, and nothing else in the broker does."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import chain

from tests.support import hostile_items as hostile
from tests.support.running import Running, example_stack, fresh_connections, lines, started
from tests.support.services import Services, process_environment
from tests.support.settings import settings
from tests.support.waiting import wait_for

SECONDS = 30.0
DROPPED = "dropped an item of "
CHORD = """
import sys
from celery import chord
from tests.support.example_tasks import note_down
one, two, both = (note_down.si(sys.argv[1], line) for line in ("one", "two", "both"))
chord([one, two], both).apply_async()
"""


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker that takes signed messages alone."""
    backend = services.new_broker()
    with example_stack(
        services, tmp_path_factory.mktemp("signed"), SIGN_MESSAGES="true", CELERY_RESULT_BACKEND=backend
    ) as running:
        running.stack.worker(concurrency=2)
        yield running


@pytest.fixture
def publishing(running: Running) -> Iterator[Callable[..., Any]]:
    """This process as a part of the deployment: with its settings, its key included."""
    with settings(running.stack.settings), fresh_connections():
        from app.celery_app import celery_app

        yield celery_app.signature


@pytest.fixture
def broker(running: Running) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(running.stack.broker_url) as connection:
        yield connection


def refusals(running: Running, why: str) -> int:
    return sum(DROPPED in line and why in line for line in running.stack.parts[0].output().splitlines())


def note_down(publishing: Callable[..., Any], ledger: Path, line: str) -> Any:
    return publishing("tests.note_down", args=(str(ledger), line), immutable=True)


class TestSigned:
    def test_a_record_runs(self, running: Running) -> None:
        assert running.run("echo", 1)["result"] == {"args": [1], "kwargs": {}}

    def test_one_that_maintenance_sends_runs(self, running: Running) -> None:
        assert running.run("echo", delay_seconds=0.5)["status"] == "succeeded"

    def test_a_plain_call_and_what_follows_it_run(self, publishing: Callable[..., Any], ledger: Path) -> None:
        first, second, after = (note_down(publishing, ledger, line) for line in ("first", "second", "after"))
        chain(first, second).apply_async(link=after)
        started(ledger, 3)
        assert lines(ledger)[:2] == ["first", "second"]

    def test_a_chord_runs(self, running: Running, ledger: Path) -> None:
        """From a process of its own: the results need a backend."""
        environment = process_environment(running.stack.settings)
        subprocess.run([sys.executable, "-c", CHORD, str(ledger)], env=environment, check=True, timeout=60)
        assert started(ledger, 3)[2] == "both"

    def test_commands_are_signed_too(self, publishing: Callable[..., Any]) -> None:
        from app.celery_app import celery_app

        assert celery_app.control.ping(timeout=SECONDS, limit=1) == [{"worker1@test": {"ok": "pong"}}]


class TestUnsigned:
    def _refused(self, running: Running, why: str, act: Callable[[], Any]) -> None:
        before = refusals(running, why)
        act()
        wait_for(lambda: refusals(running, why) > before, SECONDS, f"the message to be refused: {why}")
        assert running.run("echo")["status"] == "succeeded"

    def test_an_unsigned_one_is_dropped(self, running: Running, broker: redis.Redis, ledger: Path) -> None:
        plain = json.dumps(hostile.envelope(hostile.call(ledger))).encode()
        for item in (plain, hostile.wakeup()):
            self._refused(running, "not signed", lambda item=item: broker.lpush("default", item))
        assert lines(ledger) == []

    def test_one_that_another_key_signed_is_dropped(
        self, running: Running, publishing: Callable[..., Any], ledger: Path
    ) -> None:
        with settings({"SECRET_KEY": "another-secret-0123456789abcdef0123456789"}):
            forged = note_down(publishing, ledger, "forged")
            self._refused(running, "a wrong signature", forged.apply_async)
        assert lines(ledger) == []

    def test_one_whose_arguments_were_changed_is_dropped(
        self, running: Running, broker: redis.Redis, publishing: Callable[..., Any], ledger: Path
    ) -> None:
        queue = "parked"  # no worker serves it
        note_down(publishing, ledger, "signed").apply_async(queue=queue)
        (item,) = (broker.rpop(key) for key in broker.scan_iter(f"{queue}*"))
        message = json.loads(item)
        message["body"] = hostile.envelope(hostile.call(ledger))["body"]
        self._refused(running, "a wrong signature", lambda: broker.lpush("default", json.dumps(message)))
        assert lines(ledger) == []
        broker.lpush("default", item)  # as it was, it runs: and, being a plain one, as often as it is put there
        broker.lpush("default", item)
        assert started(ledger, 2) == ["signed", "signed"]

    def test_an_unsigned_command_is_dropped(self, running: Running, broker: redis.Redis) -> None:
        number = running.stack.broker_url.rsplit("/", 1)[1]
        channel = f"/{number}.celery.pidbox"
        self._refused(running, "not signed", lambda: broker.publish(channel, hostile.command("ping")))
