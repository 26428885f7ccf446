"""Celery's bootstep that builds and starts what a worker runs beside Celery."""

import contextlib
import gc
import math
from functools import cache
from typing import Any

from billiard.util import get_pdeathsig
from celery import bootsteps, platforms, signals
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.platforms import EX_OK
from celery.utils.time import rate
from celery.worker import state
from kombu.utils.imports import symbol_by_name

from app.catalogue import catalogue
from app.core.config import ConfigurationError, get_settings, warn_of_settings
from app.core.task_bodies import hand_on, hand_on_no_more
from app.db.session import end_idle_transactions
from app.db.sql import attempts, claims
from app.messaging import wakeups
from app.messaging.task_base import SQLAlchemyTask
from app.services.execution.claims import check_queue_shares
from app.worker.child.left_transactions import leave_sessions, watch_connections, watch_sessions
from app.worker.child.log_capture import TaskLogs, log_pieces_again, log_whole_lines
from app.worker.child.process import ChildProcess, child_process, count_tasks, start_child
from app.worker.child.taker import Taker, trace_with
from app.worker.parent.process import ParentProcess, parent_process
from app.worker.parent.quiet import filter_logs
from app.worker.shared.rate_limits import RateLimits

MAINTAIN_SECONDS = 0.5
LEAVE = "SIGUSR2"  # a shutdown like that of SIGTERM, which waits for what runs however long that is
NO_LIMIT = 1e9  # seconds: None would have the pool apply its own


class ServiceStep(bootsteps.StartStopStep):
    """In the worker's parent process. It starts after the pool has forked, so that no child inherits a held lock."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        settings = get_settings()
        warn_of_settings(settings)
        try:
            check_queue_shares(settings.queue_shares)
        except ConfigurationError as error:
            raise SystemExit(str(error)) from None
        self._worker = worker
        self.process = ParentProcess(settings)
        parent_process.replace(self.process)
        self._rate_limits = RateLimits(_periods(worker))
        table, logs = self.process.table, TaskLogs.of(settings)
        child = ChildProcess(self.process.id, settings, of_worker=table, rate_limits=self._rate_limits, logs=logs)
        child_process.replace(child)  # for pools that do not fork
        if getattr(worker, "quiet", False):  # only the command has the option
            filter_logs(self.process.table, self.process.agent.child_ended)
        signals.worker_before_create_process.connect(self._before_fork, weak=False)
        signals.worker_process_init.connect(self._in_child, weak=False)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)

    def start(self, worker: Any) -> None:
        if worker.time_limit or worker.soft_time_limit:
            # Those of each row, which the parent sees to. The pool's own would end a wake-up after several rows.
            worker.app.tasks[wakeups.NAME].time_limit = worker.app.tasks[wakeups.NAME].soft_time_limit = NO_LIMIT
        if isinstance(worker.pool, PreforkPool):  # in other pools bodies run in this very process
            end_idle_transactions()
        else:
            self._take_records()
        platforms.signals[LEAVE] = self._on_leave
        self.process.start(worker)

    def close(self, _worker: Any) -> None:
        """Stop, also where Celery sends no signal of the shutdown: after SIGHUP and `control.shutdown()`."""
        if not self.process.agent.is_leaving:
            self.process.shut_down()

    def terminate(self, worker: Any) -> None:
        """Stop coldly: Celery sends no signal of its end. The bodies end first, then their tasks are given back.

        In other pools than that of processes, bodies may run on until the process ends: another worker waits the lease.
        """
        if isinstance(worker.pool, PreforkPool):
            worker.pool.terminate()
            self.process.stop()

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Look after the pool more often than Celery's five seconds: a dead child is a lost attempt."""
        maintain = getattr(worker.pool, "maintain_pool", None)
        if maintain is not None:
            hub.call_repeatedly(MAINTAIN_SECONDS, maintain)

    def _before_fork(self, **_: Any) -> None:
        self.process.hand_over.open()
        prepare_fork()

    def _in_child(self, **_: Any) -> None:
        platforms.signals.reset(LEAVE)
        process = self.process
        left = count_tasks(process.table)
        start_child(process.id, process.table, process.hand_over, left, self._rate_limits)
        watch_connections()
        self._take_records()

    def _take_records(self) -> None:
        """Have wake-ups run the loop that takes rows, in the place of Celery's tracer. Celery has built that one.

        From now on this process runs bodies, and keeps what they log. Celery has set up its log.
        """
        log_whole_lines()
        watch_sessions()
        hand_on()
        if logs := child_process().logs:
            logs.install()
        app, worker = self._worker.app, self._worker
        limit = worker.time_limit or child_process().settings.task_time_limit_seconds
        queues = tuple(app.amqp.queues.consume_from)
        taker = Taker(app, worker.hostname, child_process(), queues, limit, worker.soft_time_limit)
        app.tasks[wakeups.NAME].__trace__ = trace_with(taker)

    def _on_shutting_down(self, how: str, **_: Any) -> None:
        """Shut down: SIGTERM warm, SIGQUIT cold."""
        self.process.shut_down(how)

    def _on_leave(self, *_: Any) -> None:
        """Take no more tasks, and end once those that run have ended. SIGTERM still ends it in the grace time."""
        self.process.agent.shut_down(math.inf)
        state.should_stop = EX_OK

    def _on_shutdown(self, **_: Any) -> None:
        # Not in the step's `stop`: that comes before the pool has drained.
        self.process.stop()
        if logs := child_process().logs:  # of a pool that does not fork: this process may go on
            logs.remove()
        hand_on_no_more()
        log_pieces_again()
        leave_sessions()


def _periods(worker: Any) -> dict[str, float]:
    """Return the seconds between two starts of each task with a `rate_limit`."""
    if worker.disable_rate_limits:
        return {}
    rates = {name: rate(task.rate_limit) for name, task in worker.app.tasks.items()}
    return {name: 1 / per_second for name, per_second in rates.items() if per_second}


@cache
def prepare_fork() -> None:
    """Do once, before the first fork, what each child would do for itself, so that they share its pages.

    The objects are frozen: a child's garbage collections would write to all of them.
    """
    with contextlib.suppress(OSError):  # not Linux
        get_pdeathsig()  # billiard's setter, called in every child, loads a whole parser of C by way of cffi
    symbol_by_name(SQLAlchemyTask.RecordRunner)
    catalogue()  # the model of each signature
    attempts.build_statements()
    claims.build_statements()
    gc.collect()
    gc.freeze()
