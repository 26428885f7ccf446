"""The parent's view of a running attempt: notices the two ends that the child cannot write itself."""

from typing import Any
from uuid import UUID

from billiard.exceptions import Terminated, WorkerLostError
from celery.worker.request import Request

from app.core.redacted_text import redact_text
from app.core.redaction import redact
from app.messaging.dispatches import RECORD_HEADER
from app.messaging.reprs import redact_args
from app.worker.parent.agent import Loss, agent
from app.worker.shared.slot_table import Stop

# The child is gone: killed, out of memory, or left by `sys.exit()` in a body.
LOST = (WorkerLostError, Terminated, SystemExit, KeyboardInterrupt)


class RecordRequest(Request):
    """Celery's Request, whose child may die or be killed at its hard time limit.

    Only the parent hears of either; it has the row say so at once, through the agent's thread: the event loop that
    calls these must not wait for a database.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # As whoever sent the message has put them there.
        self._argsrepr = redact_text(self.argsrepr or "")
        self._kwargsrepr = redact_text(self.kwargsrepr or "")

    def info(self, safe: bool = False) -> Any:
        """What `inspect active` and Flower are told."""
        told = super().info(safe=safe)
        return told if safe else {**told, "args": redact_args(self.task, self.args), "kwargs": redact(self.kwargs)}

    def send_event(self, type: str, **fields: Any) -> Any:  # noqa: A002 (Celery's name)
        """Results and errors reach events as texts. Nothing is looked for in what nobody is sent (`-E` is off)."""
        if not (self._eventer and self._eventer.enabled and self.task.send_events):
            return None
        return super().send_event(
            type, **{name: redact_text(value) if isinstance(value, str) else value for name, value in fields.items()}
        )

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, LOST):
            self._report(overran=None)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            self._report(overran=float(timeout))
        return super().on_timeout(soft, timeout)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> Any:
        """A cold shutdown ends the child under the task: no fault of the task's."""
        record = self._record
        if record is not None and self.worker_pid is not None:
            agent.shut_down(0)  # Celery sends its signal of a shutdown only once the pool has drained
            agent.warden.give_up(record, self.worker_pid, Stop.HANDED_BACK)
        return super().cancel(pool, signal, emit_retry)

    def _report(self, overran: float | None) -> None:
        record = self._record
        if record is not None and self.worker_pid is not None:
            agent.report(Loss(record, self.worker_pid, overran))

    @property
    def _record(self) -> UUID | None:
        record = self.request_dict.get(RECORD_HEADER)
        return None if record is None else UUID(record)
