"""Who runs what in this worker: memory that the parent and its pool children share, made before they fork.

Each child has a seat, on which it writes the attempt that it holds and the parent writes an order to stop one. The
parent can so look at its children without asking them, which a body in a tight loop would not answer, and an order
names the attempt it means, so it can never hit the next one.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

SEATS = 256

# pid, claims so far, phase, attempt, task
_STATE = struct.Struct("=qqqq16s")
# why, attempt, task
_ORDER = struct.Struct("=qq16s")
# A seat: how often it was written, its state twice (the even and the odd time), its order. Whole words, so that the
# number is written at once.
_WORD = 8
_SEAT = _WORD + 2 * _STATE.size + _ORDER.size
_NOBODY = UUID(int=0)


class Phase(IntEnum):
    """What a child does with the attempt on its seat."""

    IDLE = 0
    CLAIMING = 1
    """Written before the claim is sent: a row that says running is never missing from the board."""
    RUNNING = 2
    """Its body runs: written after the claim's commit."""
    DELIVERING = 3
    """The body has ended, its outcome is on its way: nothing to stop any more."""
    SETTLED = 4
    """The body has ended its attempt by itself and goes on: only the worker's own end stops it."""


class Stop(IntEnum):
    """Why a body must not go on."""

    CANCELLED = 1
    LOST = 2
    """The attempt no longer holds the task."""
    HANDED_BACK = 3
    """The worker gives the task back."""


# As the attempts' history tells it.
WHY = {
    Stop.CANCELLED: "cancelled, and killed since it did not stop",
    Stop.LOST: "its worker could not reach the database",
    Stop.HANDED_BACK: "its worker was shut down",
}


@dataclass(frozen=True)
class Sight:
    """One seat, as it was at one moment."""

    seat: int
    pid: int
    claims: int
    phase: Phase
    attempt: int
    task_id: UUID

    @property
    def in_body(self) -> bool:
        return self.phase in {Phase.RUNNING, Phase.SETTLED}

    def runs(self, task_id: UUID, attempt: int) -> bool:
        return self.phase is Phase.RUNNING and (self.task_id, self.attempt) == (task_id, attempt)


class Board:
    """`SEATS` seats. A child writes its own state, the parent its own orders: each field has one writer."""

    def __init__(self, seats: int = SEATS) -> None:
        self._memory = mmap.mmap(-1, seats * _SEAT)  # shared and anonymous: forked children see the same pages
        self._words = memoryview(self._memory).cast("Q")
        self._seats = seats

    def __len__(self) -> int:
        return self._seats

    def write(self, sight: Sight) -> None:
        """By the child: the copy that nobody reads, then the number that makes it the one to read."""
        times = self._words[sight.seat * _SEAT // _WORD] + 1
        values = (sight.pid, sight.claims, int(sight.phase), sight.attempt, sight.task_id.bytes)
        _STATE.pack_into(self._memory, _state_at(sight.seat, times), *values)
        self._words[sight.seat * _SEAT // _WORD] = times

    def read(self, seat: int) -> Sight:
        """The seat's state. A child that was stopped in the middle of a write leaves the one before."""
        number = seat * _SEAT // _WORD
        while True:
            times = self._words[number]
            state = _STATE.unpack_from(self._memory, _state_at(seat, times))
            if self._words[number] == times:  # else the copy may have been written to meanwhile
                pid, claims, phase, attempt, task_id = state
                return Sight(seat, pid, claims, Phase(phase), attempt, UUID(bytes=task_id))

    def taken(self) -> Iterator[Sight]:
        """The seats that a child has ever sat on."""
        sights = (self.read(seat) for seat in range(self._seats))
        return (sight for sight in sights if sight.pid)

    def busy(self) -> list[Sight]:
        """The seats whose children hold an attempt, or are about to."""
        return [sight for sight in self.taken() if sight.phase is not Phase.IDLE]

    def order(self, sight: Sight, why: Stop) -> None:
        """Tell the child to stop this attempt; it looks when it is signalled, and when a body starts."""
        _ORDER.pack_into(self._memory, _order_at(sight.seat), int(why), sight.attempt, sight.task_id.bytes)

    def ordered(self, seat: int, task_id: UUID, attempt: int) -> Stop | None:
        """Why this attempt is to stop, if it is."""
        why, meant, task = _ORDER.unpack_from(self._memory, _order_at(seat))
        return Stop(why) if (task, meant) == (task_id.bytes, attempt) and why else None


def _state_at(seat: int, times: int) -> int:
    return seat * _SEAT + _WORD + times % 2 * _STATE.size


def _order_at(seat: int) -> int:
    return seat * _SEAT + _WORD + 2 * _STATE.size


board = Board()


class Seat:
    """This child's seat. Without one (a pool that does not fork) nothing is written and no order comes."""

    def __init__(self, board: Board, number: int | None, pid: int) -> None:
        self._board, self._number, self._pid = board, number, pid
        self._claims = 0
        self._state: tuple[UUID, int] = (_NOBODY, 0)
        self.idle()

    def idle(self) -> None:
        self._write(Phase.IDLE, _NOBODY, 0)

    def claiming(self, task_id: UUID) -> None:
        self._claims += 1
        self._write(Phase.CLAIMING, task_id, 0)

    def running(self, attempt: int) -> None:
        self._write(Phase.RUNNING, self._state[0], attempt)

    @property
    def is_seen(self) -> bool:
        """Whether the parent sees what is written here."""
        return self._number is not None

    def settled(self) -> None:
        self._write(Phase.SETTLED, *self._state)

    def delivering(self) -> None:
        self._write(Phase.DELIVERING, *self._state)

    def order(self) -> Stop | None:
        """Why the attempt on this seat is to stop, if it is."""
        return None if self._number is None else self._board.ordered(self._number, *self._state)

    def _write(self, phase: Phase, task_id: UUID, attempt: int) -> None:
        self._state = (task_id, attempt)
        if self._number is not None:
            self._board.write(Sight(self._number, self._pid, self._claims, phase, attempt, task_id))
