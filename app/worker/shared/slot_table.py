"""Which child of this worker runs which attempt: memory that parent and pool children share, made before they fork.

Each child has a slot. It writes there the attempt that it holds, and the parent writes there an order to stop one. So
the parent sees its children without asking them, which a body in a tight loop would not answer. An order names its
attempt, so it can never stop the next one.
"""

import mmap
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

SLOTS = 256
# Has a child look for an order. Windows has neither the signal nor a pool that forks. Not SIGUSR1, Celery's own signal
# for the purpose: it killed idle children when it was measured.
STOP_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)
NO_TASK = UUID(int=0)

# pid, claims so far, phase, attempt, task
_STATE = struct.Struct("=qqqq16s")
# why, attempt, task
_ORDER = struct.Struct("=qq16s")
# A slot: how often it was written, its state twice (the even and the odd time), its order. Whole words, so that the
# number is written at once.
_WORD = 8
_SLOT = _WORD + 2 * _STATE.size + _ORDER.size


class Phase(IntEnum):
    """What a child does with the attempt in its slot."""

    IDLE = 0
    CLAIMING = 1
    """Written before the claim is sent: a row that says running is never missing from the table."""
    RUNNING = 2
    """Its body runs: written after the claim's commit."""
    DELIVERING = 3
    """The body has ended, its outcome is being written: there is nothing left to stop."""
    SETTLED = 4
    """The body has ended its attempt by itself and goes on: only the worker's own end stops it."""


class Stop(IntEnum):
    """Why a body must stop."""

    CANCELLED = 1
    LOST = 2
    """The attempt no longer holds the task."""
    HANDED_BACK = 3
    """The worker shuts down and gives the task back."""
    NO_HEARTBEAT = 4
    """The worker cannot reach the database: another one may soon start the task."""


# As the history of the attempts shows it.
STOP_TEXTS = {
    Stop.CANCELLED: "cancelled, and killed since it did not stop",
    Stop.LOST: "the attempt no longer held the task",
    Stop.HANDED_BACK: "its worker was shut down",
    Stop.NO_HEARTBEAT: "its worker could not reach the database",
}


@dataclass(frozen=True)
class SlotState:
    """One slot, as it was at one moment."""

    slot: int
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


class SlotTable:
    """`slots` slots. A child writes its own state, the parent its own orders: each field has one writer."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._memory = mmap.mmap(-1, slots * _SLOT)  # shared and anonymous: forked children see the same pages
        self._words = memoryview(self._memory).cast("Q")
        self._slots = slots

    def __len__(self) -> int:
        return self._slots

    def write(self, state: SlotState) -> None:
        """By the child: first the copy that is not current, then the number that makes it the current one."""
        times = self._words[state.slot * _SLOT // _WORD] + 1
        values = (state.pid, state.claims, int(state.phase), state.attempt, state.task_id.bytes)
        _STATE.pack_into(self._memory, _state_at(state.slot, times), *values)
        self._words[state.slot * _SLOT // _WORD] = times

    def read(self, slot: int) -> SlotState:
        """The slot's state. A child that was stopped in the middle of a write leaves the one before."""
        number = slot * _SLOT // _WORD
        while True:
            times = self._words[number]
            state = _STATE.unpack_from(self._memory, _state_at(slot, times))
            if self._words[number] == times:  # else the copy may have been overwritten meanwhile
                pid, claims, phase, attempt, task_id = state
                return SlotState(slot, pid, claims, Phase(phase), attempt, UUID(bytes=task_id))

    def used(self) -> Iterator[SlotState]:
        """The slots that any child has ever written."""
        states = (self.read(slot) for slot in range(self._slots))
        return (state for state in states if state.pid)

    def busy(self) -> list[SlotState]:
        """The slots whose children hold an attempt, or are about to."""
        return [state for state in self.used() if state.phase is not Phase.IDLE]

    def order(self, state: SlotState, why: Stop) -> None:
        """By the parent: have the child stop this attempt. It looks when it is signalled, and when a body starts."""
        _ORDER.pack_into(self._memory, _order_at(state.slot), int(why), state.attempt, state.task_id.bytes)

    def ordered(self, slot: int, task_id: UUID, attempt: int) -> Stop | None:
        """Why this attempt must stop, or None."""
        why, meant, task = _ORDER.unpack_from(self._memory, _order_at(slot))
        return Stop(why) if (task, meant) == (task_id.bytes, attempt) and why else None


def _state_at(slot: int, times: int) -> int:
    return slot * _SLOT + _WORD + times % 2 * _STATE.size


def _order_at(slot: int) -> int:
    return slot * _SLOT + _WORD + 2 * _STATE.size
