"""Which child of this worker runs which attempt: memory that parent and pool children share, made before they fork.

Each child has a slot. It writes there the attempt that it holds, and the parent writes there an order to stop one. So
the parent sees its children without asking them, which a body in a tight loop would not answer. An order names its
attempt, so it can never stop the next one.
"""

import math
import mmap
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from uuid import UUID

SLOTS = 256
# Has a child look for an order. Windows has neither the signal nor a pool that forks. Not SIGUSR1, Celery's own signal
# for the purpose: it killed idle children when it was measured.
STOP_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)
NO_TASK = UUID(int=0)

# pid, claims so far, phase, attempt, rows left, rows begun so far, name, soft and hard deadline, hard and soft limit,
# time of the claim, memory at the start, task, its Celery id
_STATE = struct.Struct("=qqqqqqqdddddq16s16s")
# why, attempt, task
_ORDER = struct.Struct("=qq16s")
# A slot: how often it was written, its state twice (the even and the odd time), its order, the last state of the child
# that had it before, and the row (by the number of those begun) whose body has met its soft time limit. Whole words, so
# that the numbers are written at once. In front, of the whole worker: whether it leaves, whether it sends events of
# tasks, whether its heartbeats get through, and whether it is behind.
_WORD = 8
_FRONT = 4 * _WORD
_SLOT = 2 * _WORD + 3 * _STATE.size + _ORDER.size


class Phase(IntEnum):
    """What a child does with the attempt in its slot."""

    IDLE = 0
    CLAIMING = 1
    """Written before the claim is sent: a row that says running may be this child's."""
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
    OVERRAN = 5
    """The attempt is over its hard time limit."""
    SOFT_TIME_LIMIT = 6
    UNWRITTEN = 7
    """The body has ended, and its process cannot write how, while the worker shuts down."""
    OUT_OF_MEMORY = 8
    """The attempt has taken more memory than TASK_MEMORY_BYTES."""


# As the history of the attempts shows it.
STOP_TEXTS = {
    Stop.CANCELLED: "cancelled, and killed since it did not stop",
    Stop.LOST: "the attempt no longer held the task",
    Stop.HANDED_BACK: "its worker was shut down",
    Stop.NO_HEARTBEAT: "its worker could not reach the database",
    Stop.OVERRAN: "killed at its time limit",
    Stop.SOFT_TIME_LIMIT: "killed after its soft time limit, which did not reach its body",
    Stop.UNWRITTEN: "its process could not write how the body ended",
    Stop.OUT_OF_MEMORY: "killed, since it took more memory than TASK_MEMORY_BYTES",
}


@dataclass(frozen=True)
class Deadlines:
    """Monotonic seconds, infinite where there is no limit; `limit` and `soft_limit` are the time limits in seconds."""

    soft: float = math.inf
    hard: float = math.inf
    limit: float = math.inf
    soft_limit: float = math.inf


NO_LIMITS = Deadlines()


@dataclass(frozen=True)
class SlotState:
    """One slot, as it was at one moment."""

    slot: int
    pid: int
    claims: int
    phase: Phase
    attempt: int
    task_id: UUID
    deadlines: Deadlines = NO_LIMITS
    claimed_at: float = 0.0
    """Monotonic seconds: when the reply to the claim came; of one with limited rows, before it was sent."""
    left: int = 0
    """The rows of the same claim that come after this one."""
    begun: int = 0
    """The rows that were begun in this slot, by whichever child had it."""
    task_name: int = -1
    """The place of the task's name among all in their order: parent and children have the same."""
    celery_id: UUID = NO_TASK
    memory: int = 0
    """Bytes of the process when the attempt began (`memory.py`); 0 where no setting bounds them."""

    @property
    def in_body(self) -> bool:
        return self.phase in {Phase.RUNNING, Phase.SETTLED}

    def runs(self, task_id: UUID, attempt: int) -> bool:
        return self.phase is Phase.RUNNING and (self.task_id, self.attempt) == (task_id, attempt)


class SlotTable:
    """`slots` slots. A child writes its own state, the parent its own orders: each field has one writer."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._memory = mmap.mmap(-1, _FRONT + slots * _SLOT)  # shared and anonymous: forked children see the same pages
        self._words = memoryview(self._memory).cast("Q")
        self._times = self._words[_FRONT // _WORD :: _SLOT // _WORD]  # how often each slot was written
        self._slots = slots

    def __len__(self) -> int:
        return self._slots

    @property
    def is_leaving(self) -> bool:
        """Return whether the worker shuts down: its children take nothing more."""
        return bool(self._words[0])

    def leave(self) -> None:
        """By the parent."""
        self._words[0] = 1

    @property
    def sends_events(self) -> bool:
        """Return whether somebody wants the events of tasks: `worker -E`, or the command `enable_events`."""
        return bool(self._words[1])

    @sends_events.setter
    def sends_events(self, wanted: bool) -> None:
        """By the parent."""
        self._words[1] = wanted

    @property
    def is_cut_off(self) -> bool:
        """Return whether no heartbeat gets through: a task that the worker took would be ended and started again."""
        return bool(self._words[2])

    @is_cut_off.setter
    def is_cut_off(self, silent: bool) -> None:
        """By the parent."""
        self._words[2] = silent

    @property
    def is_behind(self) -> bool:
        """Return whether so many successes wait for the parent to write them that no child should take more."""
        return bool(self._words[3])

    @is_behind.setter
    def is_behind(self, many_wait: bool) -> None:
        """By the parent."""
        self._words[3] = many_wait

    def take_over(self, slot: int) -> None:
        """Keep the state of the child that had the slot, for `last_of`. By a new child, before it writes."""
        _STATE.pack_into(self._memory, _before_at(slot), *_packed(self.read(slot)))

    def last_of(self, pid: int) -> SlotState | None:
        """Return the last state that this child wrote, also if the next one has taken its slot over."""
        for slot in range(self._slots):
            for state in (self.read(slot), _unpacked(slot, _STATE.unpack_from(self._memory, _before_at(slot)))):
                if state.pid == pid:
                    return state
        return None

    def write(self, state: SlotState) -> None:
        """Write the copy that is not current, then the number that makes it the current one. By the child."""
        number = _slot_at(state.slot) // _WORD
        times = self._words[number] + 1
        _STATE.pack_into(self._memory, _state_at(state.slot, times), *_packed(state))
        self._words[number] = times

    def read(self, slot: int) -> SlotState:
        """Return the slot's state. A child that was stopped in the middle of a write leaves the one before."""
        number = _slot_at(slot) // _WORD
        while True:
            times = self._words[number]
            state = _STATE.unpack_from(self._memory, _state_at(slot, times))
            if self._words[number] == times:  # else the copy may have been overwritten meanwhile
                return _unpacked(slot, state)

    def used(self) -> Iterator[SlotState]:
        """Yield the slots that any child has ever written."""
        # Nearly all of them never were, and several threads look many times a second.
        written = (slot for slot, times in enumerate(self._times) if times)
        return (state for state in map(self.read, written) if state.pid)

    def busy(self) -> list[SlotState]:
        """Return the slots whose children hold an attempt, or are about to."""
        return [state for state in self.used() if state.phase is not Phase.IDLE]

    def order(self, state: SlotState, why: Stop) -> None:
        """Have the child stop this attempt: it reads this when signalled, and when a body starts. By the parent."""
        _ORDER.pack_into(self._memory, _order_at(state.slot), int(why), state.attempt, state.task_id.bytes)

    def soft_limit_met(self, slot: int, begun: int) -> None:
        """Note that the body meets the soft time limit; `begun` as in its state. By the child."""
        self._words[_met_at(slot) // _WORD] = begun

    def has_met_soft_limit(self, state: SlotState) -> bool:
        """Return whether the soft time limit has reached this body, which may go on nevertheless."""
        return self._words[_met_at(state.slot) // _WORD] == state.begun

    def ordered(self, slot: int, task_id: UUID, attempt: int) -> Stop | None:
        """Return why this attempt must stop, or None."""
        why, meant, task = _ORDER.unpack_from(self._memory, _order_at(slot))
        return Stop(why) if (task, meant) == (task_id.bytes, attempt) and why else None


def _packed(state: SlotState) -> tuple[Any, ...]:
    ends, ids = state.deadlines, (state.task_id.bytes, state.celery_id.bytes)
    numbers = (state.pid, state.claims, int(state.phase), state.attempt, state.left, state.begun, state.task_name)
    times = (ends.soft, ends.hard, ends.limit, ends.soft_limit, state.claimed_at)
    return *numbers, *times, state.memory, *ids


def _unpacked(slot: int, packed: tuple[Any, ...]) -> SlotState:
    pid, claims, phase, attempt, left, begun, name, *ends, claimed_at, memory, task_id, celery_id = packed
    task, limits = UUID(bytes=task_id), Deadlines(*ends)
    about = (limits, claimed_at, left, begun, name, UUID(bytes=celery_id), memory)
    return SlotState(slot, pid, claims, Phase(phase), attempt, task, *about)


def _slot_at(slot: int) -> int:
    return _FRONT + slot * _SLOT


def _state_at(slot: int, times: int) -> int:
    return _slot_at(slot) + _WORD + times % 2 * _STATE.size


def _order_at(slot: int) -> int:
    return _slot_at(slot) + _WORD + 2 * _STATE.size


def _before_at(slot: int) -> int:
    return _order_at(slot) + _ORDER.size


def _met_at(slot: int) -> int:
    return _before_at(slot) + _STATE.size
