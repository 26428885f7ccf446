"""What Redis answers, read within a bound: redis-py keeps an item of 300 MB three times before anyone sees its size."""

from typing import Any

from redis._parsers import _RESP3Parser
from redis._parsers.socket import SocketBuffer
from redis.utils import SENTINEL

from app.messaging.guard.items import MAX_ITEM_BYTES

# In its place: no message, whoever reads it.
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
