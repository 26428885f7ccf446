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
_SEAT = _STATE.size + _ORDER.size
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


class Stop(IntEnum):
    """Why a body must not go on."""

    CANCELLED = 1
    LOST = 2
    """The attempt no longer holds the task."""
    HANDED_BACK = 3
    """The worker gives the task back."""


@dataclass(frozen=True)
class Sight:
    """One seat, as it was at one moment."""

    seat: int
    pid: int
    claims: int
    phase: Phase
    attempt: int
    task_id: UUID

    def runs(self, task_id: UUID, attempt: int) -> bool:
        return self.phase is Phase.RUNNING and (self.task_id, self.attempt) == (task_id, attempt)


class Board:
    """`SEATS` seats. A child writes its own state, the parent its own orders: each field has one writer."""

    def __init__(self, seats: int = SEATS) -> None:
        self._memory = mmap.mmap(-1, seats * _SEAT)  # shared and anonymous: forked children see the same pages
        self._seats = seats

    def __len__(self) -> int:
        return self._seats

    def write(self, sight: Sight) -> None:
        values = (sight.pid, sight.claims, int(sight.phase), sight.attempt, sight.task_id.bytes)
        _STATE.pack_into(self._memory, sight.seat * _SEAT, *values)

    def read(self, seat: int) -> Sight:
        """The seat's state; read until two readings agree, since the child may be writing."""
        before = None
        while before != (now := self._memory[seat * _SEAT : seat * _SEAT + _STATE.size]):
            before = now
        pid, claims, phase, attempt, task_id = _STATE.unpack(now)
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
        _ORDER.pack_into(self._memory, sight.seat * _SEAT + _STATE.size, int(why), sight.attempt, sight.task_id.bytes)

    def ordered(self, seat: int, task_id: UUID, attempt: int) -> Stop | None:
        """Why this attempt is to stop, if it is."""
        why, meant, task = _ORDER.unpack_from(self._memory, seat * _SEAT + _STATE.size)
        return Stop(why) if (task, meant) == (task_id.bytes, attempt) and why else None


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

    def delivering(self) -> None:
        self._write(Phase.DELIVERING, *self._state)

    def order(self) -> Stop | None:
        """Why the attempt on this seat is to stop, if it is."""
        return None if self._number is None else self._board.ordered(self._number, *self._state)

    def _write(self, phase: Phase, task_id: UUID, attempt: int) -> None:
        self._state = (task_id, attempt)
        if self._number is not None:
            self._board.write(Sight(self._number, self._pid, self._claims, phase, attempt, task_id))
