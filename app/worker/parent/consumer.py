"""Celery's consumer in front of which each message is looked at, on any broker (docs/adr/0020)."""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker import consumer, state

from app.core.config import get_settings
from app.messaging.guard.items import Malformed, drop
from app.messaging.guard.messages import check_message
from app.messaging.guard.signing import check_task

logger = logging.getLogger(__name__)

TASK_QUEUES = "the task queues"
# What workers tell each other serves nothing here, and whoever may publish could join in: Mingle takes over which ids
# another «worker» calls revoked, Gossip reads everybody's events. As `--without-mingle --without-gossip`.
NOT_NEEDED = {"without_mingle": True, "without_gossip": True}


class Consumer(consumer.Consumer):
    """Whatever a message holds, it either is a task for this worker or costs one line of the log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | NOT_NEEDED))

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's, behind the checks. Lost connections are the only errors that come through."""
        handle = super().create_task_handler(*args, **kwargs)
        # kombu counts KeyError among them, for the sake of a race of its own: here it comes from a message.
        lost = tuple(error for error in self.connection_errors if error is not KeyError)
        fatal: tuple[type[BaseException], ...] = (*lost, MemoryError)
        signed = get_settings().sign_messages
        with_results = self.app.conf.result_backend is not None

        def on_message(message: Any) -> None:
            try:
                check_message(message, self.strategies, with_results=with_results)
                if signed:
                    check_task(message)
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

    def _drop(self, message: Any, why: str) -> None:
        drop(TASK_QUEUES, why, len(message.body) if isinstance(message.body, str | bytes) else None)
        if not message.acknowledged:
            message.ack_log_error(logger, self.connection_errors)

    @staticmethod
    def _let_go(message: Any) -> None:
        """The place that Celery had reserved for it: nobody else would free it."""
        request = state.requests.get(message.headers["id"])
        if request is not None and request.message is message:
            state.task_ready(request)

    # Celery tells these with the whole message, in several lines

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Also what the control channel holds that is no JSON."""
        self._drop(message, f"{type(exc).__name__} while it was read")

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002 (Celery's signature)
        """Such as a time that is none."""
        self._drop(message, "an invalid task")
