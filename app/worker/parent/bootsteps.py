"""Starts what a worker and beat run beside Celery's own work: the agent (worker) and the keeper (both)."""

import contextlib
import functools
import gc
import importlib
import os
from typing import Any

from billiard.util import get_pdeathsig
from celery import Celery, bootsteps, signals

from app.core.config import get_settings
from app.db.session import keep_transactions_short
from app.maintenance.loop import keeper
from app.messaging import hints
from app.services.execution import attempts
from app.worker.parent.agent import Node, agent
from app.worker.parent.completions import completions

MAINTAIN_SECONDS = 0.5


class ServiceStep(bootsteps.StartStopStep):
    """In the worker's parent process, after the pool has forked: children must not inherit these threads' locks."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        from celery.concurrency.prefork import TaskPool as Prefork  # the API comes by here, and has no pool

        if isinstance(worker.pool, Prefork):  # in other pools bodies run in this very process
            keep_transactions_short()
        queues = worker.app.amqp.queues
        restart = functools.partial(_restart_consumer, worker)
        completions.start()
        agent.start(Node(worker.hostname, os.getpid(), lambda: tuple(queues.consume_from), worker.concurrency, restart))
        keeper.start()
        hints.attendant.start()

    def close(self, _worker: Any) -> None:
        """Also where Celery sends no signal of the shutdown: after SIGHUP and `control.shutdown()`."""
        if not agent.is_leaving:
            agent.shut_down(get_settings().shutdown_grace_seconds)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Look after the pool more often than Celery's five seconds: a dead child is a lost attempt."""
        maintain = getattr(worker.pool, "maintain_pool", None)
        if maintain is not None:
            hub.call_repeatedly(MAINTAIN_SECONDS, maintain)


def _restart_consumer(worker: Any) -> None:
    """Have Celery's event loop meet a connection error: it reconnects and consumes anew. From any thread."""

    def fail() -> None:
        raise ConnectionResetError("nothing arrives on this connection")

    worker.hub.call_soon(fail)


def _worker_shuts_down(how: str, **_: Any) -> None:
    """SIGTERM (warm): what runs has the grace time to end. SIGQUIT (cold): none."""
    agent.shut_down(get_settings().shutdown_grace_seconds if how == "Warm" else 0)


def _worker_has_shut_down(**_: Any) -> None:
    # Not in the step's `stop`: that comes before the pool has drained, and a draining worker must go on beating.
    keeper.stop()
    completions.stop(agent.patience)  # before the agent hands back what is left
    agent.stop()
    hints.attendant.stop()


def _fork_is_near(**_: Any) -> None:
    """Before the first fork: what each child would do for itself is done once, and its pages are shared.

    Frozen, since a child's collections would write to all of them.
    """
    if not gc.get_freeze_count():
        with contextlib.suppress(OSError):  # not Linux
            get_pdeathsig()  # of what sets it in every child, this loads a whole parser of C, by way of cffi
        attempts.build_statements()
        gc.collect()
        gc.freeze()


def _settings_are_there(**_: Any) -> None:
    """Celery would look for RabbitMQ on this machine, for ever, where no broker is named."""
    settings = get_settings()
    missing = [
        name
        for name, value in (("DATABASE_URL", settings.database_url), ("CELERY_BROKER_URL", settings.celery_broker_url))
        if value is None
    ]
    if missing:
        advice = "put it in .env, or start everything with `python3 run_server.py`"
        raise SystemExit(f"{' and '.join(missing)} not set: {advice}")


def _task_modules_can_be_imported(**_: Any) -> None:
    """In the API as well, which imports the tasks for its catalogue."""
    for name in get_settings().task_modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            advice = "is its folder on PYTHONPATH?"
            raise SystemExit(f"TASK_MODULES names {name}, which cannot be imported: {error} ({advice})") from None


def _beat_starts(**_: Any) -> None:
    _settings_are_there()
    keep_transactions_short()
    keeper.start()
    hints.attendant.start()


def install(app: Celery) -> None:
    """Add the steps to the application."""
    app.steps["worker"].add(ServiceStep)
    signals.import_modules.connect(_task_modules_can_be_imported, weak=False)
    signals.celeryd_init.connect(_settings_are_there, weak=False)
    signals.worker_before_create_process.connect(_fork_is_near, weak=False)
    signals.worker_shutting_down.connect(_worker_shuts_down, weak=False)
    signals.worker_shutdown.connect(_worker_has_shut_down, weak=False)
    signals.beat_init.connect(_beat_starts, weak=False)
