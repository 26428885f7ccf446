"""Events of rows, for `celery events` and Flower: the pool process sends them, since the parent knows wake-ups alone.

Only while somebody wants them (`worker -E`, `control enable_events`). An event that the broker does not take is lost,
as Celery's own are.
"""

import logging
import time
from typing import Any

from celery import states
from celery.app.trace import TraceInfo
from celery.events import EventDispatcher

from app.core.redacted_text import redact_text
from app.db.outage import first_line
from app.messaging.broker import BrokerLink
from app.worker.child.attempt_run import AttemptRun
from app.worker.shared.slot_table import SlotTable

logger = logging.getLogger(__name__)

# After a broker that could not be reached: a row would wait for it.
PAUSE_SECONDS = 5.0


class TaskEvents:
    """Of one process. Sends nothing unless the worker `sends_events`."""

    def __init__(self, app: Any, node_name: str, of_worker: SlotTable) -> None:
        self._app, self._node_name, self._of_worker = app, node_name, of_worker
        self._link = BrokerLink()
        self._dispatcher: Any = None
        self._not_before = 0.0

    def begun(self, run: AttemptRun, request: dict[str, Any]) -> None:
        """The row is about to run: Celery's events of a message that was received, and whose body was started."""
        if self._is_wanted(run):
            shown = {"args": "", "kwargs": f"task_id={run.task_id}", "root_id": request["root_id"], "parent_id": None}
            self._send("task-received", run, name=request["task"], retries=request["retries"], **shown)
            self._send("task-started", run)

    def ended(self, run: AttemptRun, problem: TraceInfo | None, runtime: float, shown: str) -> None:
        """With what Celery's tracer returns: `problem` is None after a success, `shown` its result as text."""
        if not self._is_wanted(run):
            return
        if problem is None:
            self._send("task-succeeded", run, result=shown, runtime=runtime)
        elif problem.state == states.RETRY:
            self._send("task-retried", run, exception=repr(problem.retval.exc))
        elif problem.state == states.FAILURE:
            error = getattr(problem.retval, "exc", problem.retval)
            self._send("task-failed", run, exception=repr(error))
        elif run.was_revoked:
            self._send("task-revoked", run, terminated=False, signum=None, expired=False)

    def _is_wanted(self, run: AttemptRun) -> bool:
        return self._of_worker.sends_events and bool(self._app.tasks[run.claim.celery_task_name].send_events)

    def _send(self, kind: str, run: AttemptRun, **fields: Any) -> None:
        if time.monotonic() < self._not_before:
            return
        texts = {name: redact_text(value) if isinstance(value, str) else value for name, value in fields.items()}
        try:
            if self._dispatcher is None:
                self._dispatcher = EventDispatcher(
                    self._link.connection(), self._node_name, enabled=False, app=self._app, buffer_while_offline=False
                )
            event = {"uuid": str(run.claim.celery_id), **texts}
            self._dispatcher.publish(kind, event, self._link.producer(), retry=False)
        except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
            logger.warning("broker not reachable, events of tasks are not sent: %s", first_line(error))
            self._dispatcher, self._not_before = None, time.monotonic() + PAUSE_SECONDS
            self._link.close()
