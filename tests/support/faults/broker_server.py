"""A Valkey of one test's own, to be killed, restarted with or without its data, frozen, filled, made to refuse."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import redis

from app.launcher.valkey import EmbeddedValkey
from tests.support.running import lists, messages


class BrokerServer(EmbeddedValkey):
    """`BrokerServer(directory)`, a context manager; `.url` is what CELERY_BROKER_URL takes.

    kill()     SIGKILL; connections are refused from then on
    restart()  starts what `kill` ended again on the same port, once it answers; `empty=True` forgets the file first
    frozen()   SIGSTOP for a while: it accepts connections (the kernel does) and says nothing
    refusing() it stops listening and cuts all connections, and forgets nothing
    full()     every write that needs memory is refused, as by a Redis at its `maxmemory`
    """

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.thaw()  # a frozen process handles no other signal
        self.stop(grace=3)

    # -- the process -------------------------------------------------------------------------------------------------

    def restart(self, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(self.directory / "data", ignore_errors=True)
        self.start()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            self.process.send(number)

    # -- what it may be told -----------------------------------------------------------------------------------------

    @contextmanager
    def client(self) -> Iterator["redis.Redis[bytes]"]:
        """A connection of the test's own, one and the same while the block lasts."""
        with redis.Redis.from_url(self.url, single_connection_client=True) as client:
            yield client

    @contextmanager
    def refusing(self) -> Iterator[None]:
        with self.client() as client:
            client.config_set("port", 0)  # the listener is closed; this connection stays
            self._kill_clients(client)
            try:
                yield
            finally:
                client.config_set("port", self.port)

    @contextmanager
    def full(self) -> Iterator[None]:
        with self.client() as client:
            client.config_set("maxmemory", 1)
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)

    def kill_clients(self) -> int:
        """Cut every connection, publishers' and workers' alike; how many there were."""
        with self.client() as client:
            return self._kill_clients(client)

    @staticmethod
    def _kill_clients(client: Any) -> int:
        kinds = ("NORMAL", "PUBSUB")
        return sum(int(client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "YES")) for kind in kinds)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    # -- what it holds -----------------------------------------------------------------------------------------------

    def messages(self, queue: str = "default") -> int:
        """How many wait in the queue."""
        with self.client() as client:
            return messages(client, queue)

    def drop(self, queue: str = "default", limit: int = 1) -> int:
        """Pop the messages that would be next, and throw them away; how many there were."""
        with self.client() as client:
            # As a worker does: from the right. Lists of higher priorities sort first.
            return sum(client.rpop(key) is not None for _ in range(limit) for key in lists(client, queue)[:1])

    def drop_every_second(self, queue: str = "default") -> int:
        """Throw away every second message that waits; how many. For a queue without consumers."""
        with self.client() as client:
            found = {key: client.lrange(key, 0, -1) for key in lists(client, queue)}
            for key, waiting in found.items():
                client.delete(key)
                client.rpush(key, *waiting[::2])
            return sum(len(waiting[1::2]) for waiting in found.values())
