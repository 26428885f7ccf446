"""With SIGN_MESSAGES: every message that the application publishes is signed, and workers take no other.

A client of the broker that does not know SECRET_KEY can then have nothing run. Signed is all that has a meaning to
Celery or this service: the headers, the body as it is on the wire (args, kwargs, callbacks, chains, chords) and where
the result goes. Headers that are added on the way (tracing) are neither signed nor refused.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps

from app.messaging.guard.items import Malformed
from app.messaging.guard.messages import HEADERS

SIGNATURE_HEADER = "task_signature"
COMMAND_SIGNATURE = "signature"
# How old a remote control command may be: they carry no name that could be remembered. Tasks may wait for days.
COMMAND_SECONDS = 60.0


class Unsigned(Malformed):
    """No signature, or a wrong one."""


def sign_task(headers: dict[str, Any], body: Any, properties: Mapping[str, Any], key: bytes) -> None:
    """Add the key's signature to the headers of a message that is about to be published."""
    wire = dumps(body).encode()  # as kombu's serializer does it a moment later
    headers[SIGNATURE_HEADER] = _mac(key, _task_text(headers, wire, properties))


def check_task(message: Any, keys: Sequence[bytes]) -> None:
    """Raise Unsigned unless one of the keys has signed this message."""
    text = _task_text(message.headers, str_to_bytes(message.body), message.properties)
    _check(message.headers.get(SIGNATURE_HEADER), text, keys)


def sign_command(method: str, arguments: Mapping[str, Any], addressed: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The arguments of a remote control command, with its signature among them."""
    now = time.time()
    mac = _mac(key, _command_text(method, arguments, addressed, now))
    return {**arguments, COMMAND_SIGNATURE: {"at": now, "mac": mac}}


def check_command(method: str, arguments: dict[str, Any], addressed: Mapping[str, Any], keys: Sequence[bytes]) -> None:
    """Take the signature out of the arguments. Raise Unsigned unless it is recent and made with one of the keys."""
    signature = arguments.pop(COMMAND_SIGNATURE, None)
    if not isinstance(signature, dict) or not isinstance(signature.get("at"), float):
        raise Unsigned("not signed")
    _check(signature.get("mac"), _command_text(method, arguments, addressed, signature["at"]), keys)
    # Between two machines' clocks: PostgreSQL's, which decides about tasks, would cost each command a round trip.
    if abs(time.time() - signature["at"]) > COMMAND_SECONDS:
        raise Unsigned("signed too long ago")


def _task_text(headers: Mapping[str, Any], wire: bytes, properties: Mapping[str, Any]) -> bytes:
    meant = {name: headers[name] for name in HEADERS if headers.get(name) is not None}
    return b"\0".join((b"task", _canonical([meant, properties.get("reply_to") or ""]), wire))


def _command_text(method: str, arguments: Mapping[str, Any], addressed: Mapping[str, Any], now: float) -> bytes:
    return b"\0".join((b"command", _canonical([method, arguments, addressed, now])))


def _canonical(value: Any) -> bytes:
    text: str = dumps(value, sort_keys=True, separators=(",", ":"))
    return text.encode()


def _mac(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _check(given: Any, text: bytes, keys: Sequence[bytes]) -> None:
    if not isinstance(given, str):
        raise Unsigned("not signed")
    macs = [_mac(key, text).encode() for key in keys]
    if not any([hmac.compare_digest(mac, given.encode(errors="replace")) for mac in macs]):  # noqa: C419 (all of them)
        raise Unsigned("a wrong signature")
