"""The parent's view of a running attempt: notices the two ends that the child cannot write itself."""

import logging
import re
from typing import Any

from billiard.exceptions import Terminated, WorkerLostError
from celery.worker.request import Request

from app.core.redacted_text import redact_text
from app.core.redaction import redact
from app.messaging import wakeups
from app.messaging.hidden_values import redact_args_of
from app.worker.parent.agent import Loss
from app.worker.parent.process import parent_process
from app.worker.parent.quiet import mark_reported
from app.worker.shared.slot_table import SlotState, Stop

logger = logging.getLogger(__name__)

# The child is gone: killed, out of memory, or left by `sys.exit()` in a body.
LOST = (WorkerLostError, Terminated, SystemExit, KeyboardInterrupt)
_HOW = re.compile(r"Worker exited prematurely: (.+?)(?: Job: .*)?\.?$")


class RecordRequest(Request):
    """Celery's Request, whose child may die or be killed at its hard time limit.

    Only the parent learns of either. It has the agent's thread write it to the row at once: the event loop that calls
    these methods must not wait for a database.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The sender of the message may not have redacted them.
        self._argsrepr = redact_text(self.argsrepr or "")
        self._kwargsrepr = redact_text(self.kwargsrepr or "")
        if self._takes_records:
            parent_process().table.sends_events = sends_task_events(self._eventer)

    def info(self, safe: bool = False) -> Any:
        """Return what `inspect active` and Flower show."""
        shown = super().info(safe=safe)
        row = self._row()
        if row is not None:
            shown["name"] = shown["type"] = sorted(self._app.tasks)[row.task_name]
            shown["id"], shown["task_id"] = str(row.celery_id), str(row.task_id)
        return shown if safe else {**shown, "args": redact_args_of(self.task, self.args), "kwargs": redact(self.kwargs)}

    def send_event(self, type: str, **fields: Any) -> Any:  # noqa: A002 (Celery's name)
        """Send the event with its texts redacted: results and errors are such. Does nothing without `-E`."""
        if not (self._eventer and self._eventer.enabled and self.task.send_events):
            return None
        return super().send_event(
            type, **{name: redact_text(value) if isinstance(value, str) else value for name, value in fields.items()}
        )

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, LOST):
            self._report(how_it_ended(error))
            mark_reported(error)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> Any:
        """Hand the task back: a cold shutdown ends the child under it, which is no fault of the task's."""
        if self._takes_records and self.worker_pid is not None:
            parent = parent_process()
            parent.agent.shut_down(0)  # Celery sends its signal of a shutdown only once the pool has drained
            parent.stopper.note_ended(self.worker_pid, Stop.HANDED_BACK)
        return super().cancel(pool, signal, emit_retry)

    def _report(self, how: str) -> None:
        if not self._takes_records:
            logger.error(
                "task %s[%s] ended with its process %s (%s): without a record, it does not run again",
                self.name, self.id, self.worker_pid, how,
            )  # fmt: skip
        elif self.worker_pid is not None:
            parent_process().agent.report(Loss(self.worker_pid, how=how))

    @property
    def _takes_records(self) -> bool:
        return bool(self.name == wakeups.NAME)

    def _row(self) -> SlotState | None:
        """Return the slot of the row that the process of this wake-up runs now."""
        if not self._takes_records:
            return None
        slots = parent_process().table.busy()
        return next((state for state in slots if state.pid == self.worker_pid and state.in_body), None)


def sends_task_events(eventer: Any) -> bool:
    """Return whether Celery sends the events of tasks now: `worker -E`, or the command `enable_events`."""
    return bool(eventer and eventer.enabled and (not eventer.groups or "task" in eventer.groups))


def how_it_ended(error: BaseException) -> str:
    """Return the end of a child in a few words: `signal 9 (SIGKILL)`, `exitcode 1`, `SystemExit(3)`."""
    found = _HOW.search(str(error))
    return redact_text(found[1] if found else repr(error))
