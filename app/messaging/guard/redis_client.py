"""redis-py's client, reading defensively: keys that hold another type than theirs, answers within a bound of memory.

One `SET default x` would stop the queue `default` for every worker, publisher and look of maintenance until somebody
deletes the key: Redis answers WRONGTYPE to each of their commands. Such a key is put aside, and the command repeated.
What is renamed is never of the right type: the server compares and renames in one step.
"""

import logging
from collections.abc import Container, Iterable
from typing import Any

import redis
from redis._parsers import _RESP3Parser
from redis._parsers.socket import SocketBuffer
from redis.client import Pipeline
from redis.utils import SENTINEL

from app.messaging.guard.items import MAX_ITEM_BYTES, MAX_TEXT, Lines

_lines = Lines(logging.getLogger(__name__), logging.ERROR)

# An attacker may be as fast as the repair.
TRIES = 3
ASIDE = "task_service:put_aside:"
SEPARATOR = "\x06\x16"
# kombu's own keys, and those of the service.
TYPES = {"unacked": "hash", "unacked_index": "zset", "_kombu.binding_deadlines": "zset"}
TYPES_BY_START = {"_kombu.binding.": "set", "_kombu.binding_permanent.": "set", "task_service:": "string"}
MAILBOX = ".pidbox"

_DONE = "a key of the broker held another type: %r was a %s, not a %s; it has %r before its name now"
_NOT_DONE = (
    "a key of the broker holds another type, and the server does not let it be renamed: delete the key, and let the "
    "broker's user run TYPE and RENAME (docs/servers.md): %s"
)
_PUT_ASIDE = """
local found = redis.call('TYPE', KEYS[1])['ok']
if found == 'none' or found == ARGV[1] then return '' end
redis.call('RENAME', KEYS[1], KEYS[2])
return found
"""


def type_of_key(key: str, queues: Container[str]) -> str | None:
    """Return the type that Redis gives what belongs there; None for a key that is not the service's to repair."""
    if key in TYPES:
        return TYPES[key]
    for start, kind in TYPES_BY_START.items():
        if key.startswith(start):
            return None if key.startswith(ASIDE) else kind
    queue = key.partition(SEPARATOR)[0]
    return "list" if queue in queues or queue.endswith(MAILBOX) else None


def is_wrong_type(error: Any) -> bool:
    """Return whether a command has met a key of another type, also within a script or a transaction."""
    return isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error)


def keys_of(command: tuple[Any, ...]) -> list[str]:
    """Return the keys of a command as kombu and this service give it."""
    name = str(command[0]).upper()
    if name in ("EVAL", "EVALSHA"):
        keys = command[3 : 3 + int(command[2])]
    elif name in ("BRPOP", "DEL", "EXISTS", "WATCH"):
        keys = command[1:]
    else:
        keys = command[1:2]
    return [key.decode(errors="replace") if isinstance(key, bytes) else str(key) for key in keys]


def put_aside(pool: Any, keys: Iterable[str], queues: Container[str]) -> bool:
    """Rename those of the keys that hold another type than theirs. Returns whether a repetition may now succeed.

    Each has one name to go to, so at most one such value is kept for each key.
    """
    kinds = {key: kind for key in keys if (kind := type_of_key(key, queues)) is not None}
    client = redis.Redis(connection_pool=pool)
    try:
        for key, kind in kinds.items():
            found = client.eval(_PUT_ASIDE, 2, key, ASIDE + key, kind)
            if found:
                _lines.write(_DONE, key[:MAX_TEXT], found.decode(), kind, ASIDE)
    except redis.ResponseError as error:
        _lines.write(_NOT_DONE, str(error)[:MAX_TEXT])
        return False
    return bool(kinds)


class TypedRedis(redis.Redis):
    """redis-py's client, whose commands survive a key of another type. `queues` are the service's own."""

    queues: Container[str] = ()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        for _ in range(TRIES):
            try:
                return super().execute_command(*args, **options)
            except redis.ResponseError as error:
                if not is_wrong_type(error) or not put_aside(self.connection_pool, keys_of(args), self.queues):
                    raise
        return super().execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "TypedPipeline":
        pipe = TypedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.queues = self.queues
        return pipe


class TypedPipeline(Pipeline):
    """redis-py's pipeline. Redis executes the other commands of a transaction: only those at fault are repeated."""

    queues: Container[str] = ()

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = list(self.command_stack)
        answers = super().execute(raise_on_error=False)
        for _ in range(TRIES):
            wrong = [at for at, answer in enumerate(answers) if is_wrong_type(answer)]
            keys = [key for at in wrong for key in keys_of(commands[at][0])]
            if not wrong or not put_aside(self.connection_pool, keys, self.queues):
                break
            again = Pipeline(self.connection_pool, self.response_callbacks, transaction=True, shard_hint=None)
            for at in wrong:
                again.execute_command(*commands[at][0], **commands[at][1])
            for at, answer in zip(wrong, again.execute(raise_on_error=False), strict=True):
                answers[at] = answer
        if raise_on_error:
            self.raise_first_error(commands, answers)
        return answers

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Between WATCH and MULTI. A watched key that was renamed makes redis-py begin the transaction anew."""
        try:
            return super().immediate_execute_command(*args, **options)
        except redis.ResponseError as error:
            if not is_wrong_type(error) or not put_aside(self.connection_pool, keys_of(args), self.queues):
                raise
            return super().immediate_execute_command(*args, **options)


# -- What Redis answers, read within a bound of memory -----------------------------------------------------------------
# redis-py keeps an item of 300 MB three times before anyone sees its size.

# In the place of a text that is too large: no message, whoever reads it.
TOO_LARGE = b"\0too large"


class BoundedBuffer(SocketBuffer):
    """redis-py's, which reads a text of more than MAX_ITEM_BYTES and keeps nothing of it."""

    def read(self, length: int, timeout: Any = SENTINEL) -> bytes:
        if length <= MAX_ITEM_BYTES:
            text: bytes = super().read(length, timeout)
            return text
        left, place = length + len(b"\r\n"), self._buffer.tell()
        while left := left - len(self._buffer.read(left)):
            self._buffer.seek(place)
            self._buffer.truncate()
            self._read_from_socket(timeout=timeout)
        return TOO_LARGE


class BoundedParser(_RESP3Parser):
    """redis-py's parser for both protocols, on such a buffer."""

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)
        socket: Any = self._sock
        self._buffer = BoundedBuffer(socket, self.socket_read_size, connection.socket_timeout)
