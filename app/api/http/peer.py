"""What one connection holds for its client, and whether the client sends and reads fast enough.

A transfer that does not wait for its client costs a few comparisons and no timer.
"""

from asyncio import Transport
from typing import Protocol
from uuid import UUID

from app.api.http.kernel_buffers import abort
from app.api.http.minimum_rate import MinimumRate
from app.api.http.peers import Owner, Peers


class BodyReader(Protocol):
    """The other side of a body's transfer."""

    def is_reading(self) -> bool:
        """Return whether the server takes more of the body."""
        ...

    def refuse_slow_body(self) -> None:
        """End a body that came too slowly."""


class Peer:
    """The part of one connection."""

    __slots__ = (
        "_arrived", "_body", "_body_rate", "_has_request", "_of", "_reader", "_send_rate", "_transport", "_unread",
        "_unsent", "address", "owner", "since",
    )  # fmt: skip

    def __init__(self, of: Peers, transport: Transport, address: str) -> None:
        self._of, self._transport, self.address = of, transport, address
        self.owner: Owner = address
        self.since = of.loop.time()
        self._has_request = False  # of a user
        self._body = self._arrived = 0  # bytes held of the request's body; bytes of it since the last check
        self._unsent = self._unread = 0  # bytes held of the answer; bytes of it that the client has not taken
        self._body_rate: MinimumRate | None = None
        self._send_rate: MinimumRate | None = None
        self._reader: BodyReader | None = None

    @property
    def is_unread(self) -> bool:
        """Whether an answer waits for its client to read it."""
        return self._send_rate is not None

    @property
    def waits_for_body(self) -> bool:
        return self._body_rate is not None

    def set_user(self, user: UUID) -> None:
        """Name the user of the request in progress. Raises TooManyInProgress, Overloaded."""
        if self._has_request:
            return
        self._of.begin(user, self._body)
        self._has_request = True
        held = self._body + self._unsent  # an answer without a body is sent after its response is complete
        if held:
            self._of.release(self.owner, held)
            self._of.hold(user, held)
        self.owner = user

    def body_arrived(self, count: int) -> None:
        """Count bytes of a body, which are held until the response is complete."""
        self._body += count
        self._of.hold(self.owner, count)

    def body_taken(self, count: int) -> None:
        """Count these bytes of a body no longer: the application has passed them on, and holds them no more."""
        taken = min(count, self._body)
        self._body -= taken
        self._of.release(self.owner, taken)

    def body_waits(self, count: int, reader: BodyReader) -> None:
        """Note that so many bytes of a body have arrived, and that more must come."""
        self._arrived += count
        self._reader = reader
        if self._body_rate is None:
            self._body_rate = self._new_rate()
            self._of.wait_for(self)
        self._of.enforce(self.owner)

    def body_complete(self) -> None:
        """Note that the client need not send more of the body."""
        self._body_rate, self._reader, self._arrived = None, None, 0
        self._stop_waiting()

    def answer_waits(self) -> None:
        """Note that the kernel did not take all of an answer at once."""
        self._unsent = self._unread = self._transport.get_write_buffer_size()
        self._of.hold(self.owner, self._unsent)
        self._send_rate = self._new_rate()
        self._of.wait_for(self)
        self._of.enforce(self.owner)

    def answer_sent(self) -> None:
        """Note that the kernel has taken all of it."""
        if self._send_rate is not None:
            self._of.release(self.owner, self._unsent)
            self._unsent, self._send_rate = 0, None
            self._stop_waiting()
            self._forget_owner()

    def response_complete(self) -> None:
        """Note that the application has answered: it holds nothing of the request any more."""
        self.since = self._of.loop.time()
        if self._has_request:
            self._has_request = False
            self._of.end(self.owner)
        if self._body:
            self._of.release(self.owner, self._body)
            self._body = 0
        self._forget_owner()

    def check(self, now: float) -> None:
        """End the connection if its client takes or sends too little."""
        if self._send_rate is not None:
            unread = self._transport.get_write_buffer_size()
            taken, self._unread = max(0, self._unread - unread), unread
            if not self._send_rate.moved(taken, now):
                self.end()
                return
        if self._body_rate is not None and self._reader is not None:
            arrived, self._arrived = self._arrived, 0
            if not self._reader.is_reading():
                self._body_rate.excuse(now)
            elif not self._body_rate.moved(arrived, now):
                self._reader.refuse_slow_body()

    def end(self) -> None:
        """Abort the connection, and release what it holds."""
        abort(self._transport)
        self.lost()

    def lost(self) -> None:
        """Release what the connection holds."""
        if self._body_rate is not None:
            self.body_complete()
        self.answer_sent()
        self.response_complete()

    def _forget_owner(self) -> None:
        if not (self._has_request or self._unsent):
            self.owner = self.address

    def _new_rate(self) -> MinimumRate:
        return MinimumRate(self._of.limits.seconds, self._of.limits.bytes_per_second, self._of.loop.time())

    def _stop_waiting(self) -> None:
        if self._send_rate is None and self._body_rate is None:
            self._of.stop_waiting(self)
