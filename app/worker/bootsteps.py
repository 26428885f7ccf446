"""Celery's bootstep that builds and starts what a worker runs beside Celery."""

import contextlib
import gc
from typing import Any

from billiard.util import get_pdeathsig
from celery import bootsteps, signals
from celery.concurrency.prefork import TaskPool as PreforkPool
from kombu.utils.imports import symbol_by_name

from app.catalogue import catalogue
from app.core.config import get_settings
from app.db.postgresql import attempts
from app.db.session import end_idle_transactions
from app.messaging.task_base import SQLAlchemyTask
from app.worker.child.process import ChildProcess, child_process, start_child
from app.worker.parent.process import ParentProcess, parent_process
from app.worker.parent.quiet import filter_logs

MAINTAIN_SECONDS = 0.5
# Python 3.12 starts with a few hundred frozen objects, other versions with none.
_FROZEN_AT_START = gc.get_freeze_count()


class ServiceStep(bootsteps.StartStopStep):
    """In the worker's parent process. It starts after the pool has forked, so that no child inherits a held lock."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        settings = get_settings()
        self.process = ParentProcess(settings)
        parent_process.replace(self.process)
        child_process.replace(ChildProcess(self.process.id, settings))  # for pools that do not fork
        if getattr(worker, "quiet", False):  # only the command has the option
            filter_logs(self.process.table)
        signals.worker_before_create_process.connect(self._before_fork, weak=False)
        signals.worker_process_init.connect(self._in_child, weak=False)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)

    def start(self, worker: Any) -> None:
        if isinstance(worker.pool, PreforkPool):  # in other pools bodies run in this very process
            end_idle_transactions()
        self.process.start(worker)

    def close(self, _worker: Any) -> None:
        """Also where Celery sends no signal of the shutdown: after SIGHUP and `control.shutdown()`."""
        if not self.process.agent.is_leaving:
            self.process.shut_down()

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Look after the pool more often than Celery's five seconds: a dead child is a lost attempt."""
        maintain = getattr(worker.pool, "maintain_pool", None)
        if maintain is not None:
            hub.call_repeatedly(MAINTAIN_SECONDS, maintain)

    def _before_fork(self, **_: Any) -> None:
        self.process.hand_over.open()
        prepare_fork()

    def _in_child(self, **_: Any) -> None:
        start_child(self.process.id, self.process.table, self.process.hand_over)

    def _on_shutting_down(self, how: str, **_: Any) -> None:
        """SIGTERM shuts down warm, SIGQUIT cold."""
        self.process.shut_down(how)

    def _on_shutdown(self, **_: Any) -> None:
        # Not in the step's `stop`: that comes before the pool has drained.
        self.process.stop()


def prepare_fork() -> None:
    """Before the first fork: do once what each child would do for itself, so that they share its pages.

    The objects are frozen: a child's garbage collections would write to all of them.
    """
    if gc.get_freeze_count() <= _FROZEN_AT_START:
        with contextlib.suppress(OSError):  # not Linux
            get_pdeathsig()  # billiard's setter, called in every child, loads a whole parser of C by way of cffi
        symbol_by_name(SQLAlchemyTask.RecordRunner)
        catalogue()  # the model of each signature
        attempts.build_statements()
        gc.collect()
        gc.freeze()
