"""Remote control: which commands of the broker's control channel a worker follows.

A client that may publish there could end every worker with one `shutdown`. By default a worker only answers questions,
which `celery inspect`, the health check of docker-compose.yml and Flower's views need; REMOTE_CONTROL changes that.
"""

import inspect
from typing import Any

from celery.app.control import Control as CeleryControl
from kombu import pidbox
from kombu.clocks import LamportClock

from app.core.config import get_settings
from app.messaging.guard.items import LARGEST_NUMBER, MAX_TEXT, Malformed, drop
from app.messaging.guard.messages import check_command_signature, sign_command

# A thousand ids.
MAX_COMMAND_BYTES = 64 * 1024
MAX_COMMAND_DEPTH = 5
# Of `revoke_by_stamped_headers`, which Celery keeps for good; it forgets the oldest ids of `revoke` by itself.
MAX_STAMPS = 10_000
# They change nothing that a task would notice: the events are for monitors such as Flower.
QUESTIONS = frozenset(
    {
        "ping", "stats", "active", "active_queues", "registered", "reserved", "scheduled", "revoked", "query_task",
        "clock", "enable_events", "disable_events", "heartbeat",
    }
)  # fmt: skip


def follows(method: str, allowed: str) -> bool:
    """Return whether a worker with this REMOTE_CONTROL follows the command."""
    return allowed == "full" or (allowed == "read" and method in QUESTIONS)


class Clock(LamportClock):
    """A logical clock that follows nobody: workers do not talk to each other, so strangers alone would set it.

    One number of 4,300 digits, the most that Python reads, would be one too long to be written into any answer.
    """

    def adjust(self, other: int) -> int:  # noqa: ARG002 (kombu's)
        return self.forward()


class Node(pidbox.Node):
    """A worker's end of the channel."""

    mailbox: Any
    handlers: dict[str, Any]

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Handle commands that are well-formed, allowed and, with SIGN_MESSAGES, signed, as Celery does."""
        try:
            self._check(body, message)
        except Malformed as problem:
            drop("the control channel", str(problem))
            return None
        return super().handle_message(body, message)

    def _check(self, body: Any, message: Any) -> None:
        if message is not None and len(message.body) > MAX_COMMAND_BYTES:
            raise Malformed("a command that is too large")
        check_shape(body, self.mailbox.reply_exchange.name)
        method, settings = body["method"], get_settings()
        if method not in self.handlers:
            raise Malformed("an unknown command")
        if settings.sign_messages:
            addressed = _addressed(body, self._answered_to(body))
            check_command_signature(method, body["arguments"], addressed, settings.message_keys)
        try:
            inspect.signature(self.handlers[method]).bind(self.state, **body["arguments"])
        except TypeError:
            raise Malformed("a command with wrong arguments") from None

    def handle(self, method: str, arguments: dict[str, Any] | None = None) -> Any:
        """Return the worker's answer as kombu does. It refuses a command that REMOTE_CONTROL leaves out."""
        allowed = get_settings().remote_control
        if not follows(method, allowed):
            drop("the control channel", "a command that REMOTE_CONTROL leaves out")
            return {"error": f"REMOTE_CONTROL={allowed}: this worker does not follow {method}, see docs/operations.md"}
        try:
            return super().handle(method, arguments)
        except Exception as error:  # noqa: BLE001 (kombu would log a traceback for what the sender wrote)
            drop("the control channel", f"{type(error).__name__} in a command")
            return {"error": repr(error)[:MAX_TEXT]}
        finally:
            if method == "revoke_by_stamped_headers":
                _forget_old_stamps()

    @staticmethod
    def _answered_to(body: dict[str, Any]) -> str | None:
        reply_to = body.get("reply_to")
        return reply_to["routing_key"] if reply_to else None


class Mailbox(pidbox.Mailbox):
    """The sender's end: signs what it sends, with SIGN_MESSAGES."""

    node_cls = Node

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clock = Clock()

    def _publish(
        self,
        type: str,  # noqa: A002 (kombu's name)
        arguments: dict[str, Any],
        destination: Any = None,
        reply_ticket: str | None = None,
        *others: Any,
        pattern: str | None = None,
        matcher: str | None = None,
        **options: Any,
    ) -> None:
        settings = get_settings()
        if settings.sign_messages:
            body = {"destination": destination, "pattern": pattern, "matcher": matcher, "ticket": reply_ticket}
            addressed = _addressed(body, self.oid if reply_ticket else None)
            arguments = sign_command(type, arguments, addressed, settings.message_keys[0])
        named = {"pattern": pattern, "matcher": matcher, **options}
        super()._publish(type, arguments, destination, reply_ticket, *others, **named)


class Control(CeleryControl):
    """Celery's, with the two ends above."""

    Mailbox = Mailbox


def _addressed(body: dict[str, Any], answered_to: str | None) -> dict[str, Any]:
    """Return where a command and its answer go: neither may be changed on the way."""
    destination = body.get("destination")
    return {
        "destination": None if destination is None else list(destination),
        "pattern": body.get("pattern"),
        "matcher": body.get("matcher"),
        "ticket": body.get("ticket"),
        "answered_to": answered_to,
    }


def check_shape(body: Any, replies: str) -> None:
    """Raise Malformed unless it is a command as kombu publishes it, whose answer goes to the `replies` exchange."""
    if not isinstance(body, dict) or not isinstance(body.get("method"), str):
        raise Malformed("no command")
    ticket = body.get("ticket")
    if not isinstance(body.get("arguments"), dict) or not (ticket is None or _is_text(ticket)):
        raise Malformed("a wrong command")
    if not _are_bounded(body["arguments"]):
        raise Malformed("a command with wrong arguments")
    destination, pattern, matcher = (body.get(name) for name in ("destination", "pattern", "matcher"))
    if destination is not None and not (isinstance(destination, list) and all(map(_is_text, destination))):
        raise Malformed("a wrong command")
    # A regular expression can keep the event loop busy for ever.
    if not (pattern is None or _is_text(pattern)) or matcher not in (None, "glob"):
        raise Malformed("a pattern that is not followed")
    if not _is_reply_address(body.get("reply_to"), replies):
        raise Malformed("an answer to elsewhere")


def _is_reply_address(value: Any, replies: str) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and value.get("exchange") == replies and _is_text(value.get("routing_key"))


def _are_bounded(value: Any, depth: int = 0) -> bool:
    """Return whether each text is short, and each number one that can be written again."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return depth < MAX_COMMAND_DEPTH and all(_are_bounded(each, depth + 1) for each in value)
    if isinstance(value, str):
        return _is_text(value)
    return not isinstance(value, int | float) or abs(value) <= LARGEST_NUMBER


def _forget_old_stamps() -> None:
    from celery.worker import state  # a part of the worker: senders of commands do without

    kept = state.revoked_stamps
    while kept and sum(len(stamps) if isinstance(stamps, list) else 1 for stamps in kept.values()) > MAX_STAMPS:
        kept.pop(next(iter(kept)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT
