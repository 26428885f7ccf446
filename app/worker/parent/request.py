"""The parent's view of a running attempt: notices the two ends that the child cannot write itself."""

import logging
import re
from typing import Any
from uuid import UUID

from billiard.exceptions import Terminated, WorkerLostError
from celery.worker.request import Request

from app.core.redacted_text import redact_text
from app.core.redaction import redact
from app.messaging.guard.messages import RECORD_HEADER
from app.messaging.process_logs import RECORD_SHOWN
from app.messaging.reprs import redact_args_of
from app.worker.parent.agent import Loss
from app.worker.parent.process import parent_process
from app.worker.parent.quiet import mark_reported
from app.worker.shared.slot_table import Stop

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
        if self._record is not None:
            self._kwargsrepr = f"{RECORD_SHOWN}{self._record}"
        elif self._kwargsrepr.startswith(RECORD_SHOWN):
            self._kwargsrepr = ""  # the sender's own text, which would have log lines name a record

    def info(self, safe: bool = False) -> Any:
        """What `inspect active` and Flower show."""
        shown = super().info(safe=safe)
        if self._record is not None:
            shown["task_id"] = str(self._record)
        return shown if safe else {**shown, "args": redact_args_of(self.task, self.args), "kwargs": redact(self.kwargs)}

    def send_event(self, type: str, **fields: Any) -> Any:  # noqa: A002 (Celery's name)
        """Results and errors reach events as texts, which are redacted. Does nothing without `-E`."""
        if not (self._eventer and self._eventer.enabled and self.task.send_events):
            return None
        return super().send_event(
            type, **{name: redact_text(value) if isinstance(value, str) else value for name, value in fields.items()}
        )

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, LOST):
            self._report(how_it_ended(error), overran=None)
            mark_reported(error)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            self._report("killed at its time limit", overran=float(timeout))
        return super().on_timeout(soft, timeout)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> Any:
        """A cold shutdown ends the child under the task: no fault of the task's."""
        record = self._record
        if record is not None and self.worker_pid is not None:
            parent = parent_process()
            parent.agent.shut_down(0)  # Celery sends its signal of a shutdown only once the pool has drained
            parent.stopper.note_ended(record, self.worker_pid, Stop.HANDED_BACK)
        return super().cancel(pool, signal, emit_retry)

    def _report(self, how: str, overran: float | None) -> None:
        record = self._record
        if record is None:
            logger.error(
                "task %s[%s] ended with its process %s (%s): without a record, it does not run again",
                self.name, self.id, self.worker_pid, how,
            )  # fmt: skip
        elif self.worker_pid is not None:
            parent_process().agent.report(Loss(record, self.worker_pid, overran, how))

    @property
    def _record(self) -> UUID | None:
        record = self.request_dict.get(RECORD_HEADER)
        return None if record is None else UUID(record)


def how_it_ended(error: BaseException) -> str:
    """The end of a child in a few words: `signal 9 (SIGKILL)`, `exitcode 1`, `SystemExit(3)`."""
    found = _HOW.search(str(error))
    return redact_text(found[1] if found else repr(error))
