"""One real worker that is fed with what it must drop, and goes on serving."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import redis

from tests.support import hostile_items as hostile
from tests.support.running import Running, example_stack, lines
from tests.support.services import Services
from tests.support.stack import Part
from tests.support.waiting import wait_for

SECONDS = 20.0
LINE = 400  # a line of the log tells no more
DROPPED = "dropped an item of "
USUAL = ("Task tests.note_down[", "maintenance")


@contextmanager
def serving_worker(services: Services, directory: Path) -> Iterator["Serving"]:
    """A stack of its own with that worker; its ledger is in the directory."""
    with example_stack(services, directory) as running:
        started = Serving(running, directory / "ledger")
        yield started
        started.broker.close()


class Serving:
    """The worker that all of these share: the same process from the first to the last."""

    def __init__(self, running: Running, ledger: Path) -> None:
        self.running, self.ledger = running, ledger
        self.worker: Part = running.stack.worker(concurrency=1)
        self.pid = self.worker.pid
        self.broker: redis.Redis = redis.Redis.from_url(running.stack.broker_url)
        self.number = running.stack.broker_url.rsplit("/", 1)[1]

    def put(self, item: bytes, queue: str = hostile.QUEUE) -> None:
        self.broker.lpush(queue, item)

    def tell(self, command: bytes) -> None:
        """On the channel of remote control."""
        channel = f"/{self.number}.celery.pidbox"
        wait_for(lambda: self.broker.publish(channel, command) == 1, what="the worker to listen")

    def good(self, line: str) -> bytes:
        return json.dumps(hostile.envelope([[str(self.ledger), line], {}, {}])).encode()

    def still_serves(self) -> list[str]:
        """It runs a good task, sent now; what else ran since the ledger was last empty."""
        mark = str(uuid4())
        self.put(self.good(mark))
        wait_for(lambda: mark in lines(self.ledger) or not self.worker.running, SECONDS, "the good task to run")
        assert self.worker.running, self.worker.tail()
        assert self.worker.pid == self.pid
        return [line for line in lines(self.ledger) if line != mark]

    def log_since(self, position: int) -> list[str]:
        return self.worker.output()[position:].splitlines()

    def drops(self, acts: dict[str, Callable[[], object]]) -> list[str]:
        """What its log says of acts whose items must be dropped: a line each, and nothing of what stood in the item."""
        position = len(self.worker.output())
        for act in acts.values():
            act()

        def dropped() -> int:
            return self.worker.output()[position:].count(DROPPED)

        wait_for(lambda: dropped() >= len(acts) or not self.worker.running, 60, "the items to be dropped")
        assert dropped() == len(acts), f"{[*acts][: dropped() + 1][-1]} was not dropped:\n{self.worker.tail()}"
        assert self.still_serves() == []
        said = [line for line in self.log_since(position) if not any(usual in line for usual in USUAL)]
        assert [line for line in said if DROPPED not in line] == []
        for name, line in zip(acts, said, strict=True):
            assert len(line) < LINE, name
            assert not any(text in line for text in ("forged", "garbage", "hostile", "no_such", "/nowhere")), name
        return said
