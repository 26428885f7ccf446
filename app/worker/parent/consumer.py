"""Celery's consumer, behind a check of each message, on any broker (docs/adr/0020)."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from celery.worker import consumer, state

from app.core.config import get_settings
from app.messaging.guard.items import Malformed, UnknownTaskName, drop, drop_unknown
from app.messaging.guard.messages import check_message
from app.messaging.guard.signing import check_task

logger = logging.getLogger(__name__)

TASK_QUEUES = "the task queues"
# What workers tell each other is not needed here, and every client of the broker could forge it: Mingle takes over the
# ids that another «worker» calls revoked, Gossip reads all events. As `--without-mingle --without-gossip`.
NOT_NEEDED = {"without_mingle": True, "without_gossip": True}


class Consumer(consumer.Consumer):
    """A message is either a task for this worker or costs one line of the log, whatever it holds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | NOT_NEEDED))

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's handler, behind the checks. It raises nothing but the loss of a connection."""
        handle = super().create_task_handler(*args, **kwargs)
        # kombu counts KeyError among them, because of a race of its own: here it comes from a message.
        lost = tuple(error for error in self.connection_errors if error is not KeyError)
        fatal: tuple[type[BaseException], ...] = (*lost, MemoryError)
        settings = get_settings()
        keys = settings.message_keys if settings.sign_messages else None
        with_results = self.app.conf.result_backend is not None

        def on_message(message: Any) -> None:
            try:
                check_message(message, self.strategies, with_results=with_results)
                if keys is not None:
                    check_task(message, keys)
            except UnknownTaskName as problem:
                self._drop_unknown(message, problem, keys)
                return
            except Malformed as problem:
                self._drop(message, str(problem))
                return
            try:
                handle(message)
            except fatal:
                raise
            except Exception as error:  # noqa: BLE001 (it would end the worker, and the next one that takes it)
                self._let_go(message)
                self._drop(message, f"{type(error).__name__} while it was received")

        return on_message

    def _drop_unknown(self, message: Any, problem: UnknownTaskName, keys: Sequence[bytes] | None) -> None:
        """Name the task, in a line of which no stranger is the author."""
        try:
            if keys is not None:
                check_task(message, keys)
        except Malformed as unsigned:
            self._drop(message, str(unsigned))
            return
        drop_unknown(problem)
        self._acknowledge(message)

    def _drop(self, message: Any, why: str) -> None:
        drop(TASK_QUEUES, why, len(message.body) if isinstance(message.body, str | bytes) else None)
        self._acknowledge(message)

    def _acknowledge(self, message: Any) -> None:
        if not message.acknowledged:
            message.ack_log_error(logger, self.connection_errors)

    @staticmethod
    def _let_go(message: Any) -> None:
        """Free the place that Celery had reserved for it: nothing else would."""
        request = state.requests.get(message.headers["id"])
        if request is not None and request.message is message:
            state.task_ready(request)

    # Celery would log the whole message here, in several lines

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Also for a message of the control channel that is not JSON."""
        self._drop(message, f"{type(exc).__name__} while it was read")

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002 (Celery's signature)
        """Such as an ETA that is not a time."""
        self._drop(message, "an invalid task")
