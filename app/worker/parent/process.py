"""The one object of a worker's parent process."""

import os
from functools import partial
from typing import Any

from app.core.config import Settings
from app.core.fork import PerProcess
from app.core.ids import new_id
from app.maintenance.loop import Maintenance
from app.messaging.hints import hint_sender
from app.worker.parent.agent import Agent, Node
from app.worker.parent.body_stopper import BodyStopper
from app.worker.parent.completions import Completions
from app.worker.parent.limits import MemoryLimit, TimeLimits
from app.worker.shared.delivery import DELIVERY_LEASES
from app.worker.shared.hand_over import HandOver
from app.worker.shared.slot_table import SlotTable


class ParentProcess:
    """Made before the pool forks, so that the children share its memory; its threads start afterwards."""

    def __init__(self, settings: Settings) -> None:
        self.id = new_id()  # of this incarnation: parent and children write it to the rows that they hold
        self._settings = settings
        self.table = SlotTable()
        self.hand_over = HandOver()
        self.stopper = BodyStopper(self.table, settings.cancel_grace_seconds)
        self._completions = Completions(self.hand_over, settings.worker_lease_seconds * DELIVERY_LEASES, self.table)
        self.agent = Agent(self.id, settings, self.table, self.stopper, self._completions)
        self._time_limits = TimeLimits(
            self.table,
            self.stopper,
            self.agent.take_back,
            lambda: self.agent.is_answered,
            settings.cancel_grace_seconds,
        )
        self._memory_limit = MemoryLimit(self.table, self.stopper, settings.task_memory_bytes)
        self._maintenance = Maintenance(settings)
        self._hints = hint_sender()  # made here, for the children to inherit its memory

    def start(self, worker: Any) -> None:
        """Start the threads beside Celery's worker."""
        queues = worker.app.amqp.queues
        self._completions.start()
        restart = partial(_restart_consumer, worker)
        node = Node(worker.hostname, os.getpid(), lambda: tuple(queues.consume_from), worker.concurrency, restart)
        self.agent.start(node)
        self._time_limits.start()
        self._memory_limit.start()
        self._maintenance.start()
        self._hints.start()

    def shut_down(self, how: str = "Warm") -> None:
        """Take no more tasks. Warm: what runs has the grace time to end; cold: none."""
        self.agent.shut_down(self._settings.shutdown_grace_seconds if how == "Warm" else 0)

    def stop(self) -> None:
        """Stop the threads, once the pool has drained: until then the worker must go on beating."""
        self._maintenance.stop()
        self._completions.stop(self.agent.patience)  # before the agent hands back what is left
        self._time_limits.stop()
        self._memory_limit.stop()
        self.agent.stop()
        self._hints.stop()


def _restart_consumer(worker: Any) -> None:
    """Have Celery's event loop meet a connection error: it reconnects and consumes anew. From any thread."""

    def fail() -> None:
        raise ConnectionResetError("nothing arrives on this connection")

    worker.hub.call_soon(fail)


def _outside_a_worker() -> ParentProcess:
    raise RuntimeError("this process is no worker")


parent_process = PerProcess(_outside_a_worker)
