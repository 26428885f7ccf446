"""A pool child's slot: what it writes there, and the orders to stop that it finds there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID

from app.worker.shared.memory import private_bytes
from app.worker.shared.slot_table import NO_LIMITS, NO_TASK, Deadlines, Phase, SlotState, SlotTable, Stop

Listener = Callable[[Stop], None]


def _nothing() -> None:
    pass


class Slot:
    """This child's slot in the table. Without one (a pool that does not fork) nothing is written and no order comes."""

    def __init__(
        self, table: SlotTable | None = None, number: int = 0, pid: int = 0, *, tells_memory: bool = False
    ) -> None:
        """`tells_memory`: the parent is to see how much memory the process had when an attempt began."""
        self._tells_memory, self._memory = tells_memory, 0
        self._table, self._number, self._pid = table, number, pid
        self._claims, self._claimed_at, self._left, self._begun = 0, 0.0, 0, 0
        self._named: tuple[int, UUID] = (-1, NO_TASK)
        self._state: tuple[UUID, int] = (NO_TASK, 0)
        self._deadlines = NO_LIMITS
        self._listener: Listener | None = None
        if table is not None:
            table.take_over(number)
            self._begun = table.read(number).begun
        self.idle()

    @property
    def is_seen(self) -> bool:
        """Whether the parent sees what is written here."""
        return self._table is not None

    def idle(self) -> None:
        """This process holds no row any more: one that says so is an orphan."""
        self._left = 0
        self._write(Phase.IDLE, NO_TASK, 0)

    def claiming(self) -> None:
        self._claims += 1
        self._left = 0
        self._write(Phase.CLAIMING, NO_TASK, 0)

    def running(
        self,
        task_id: UUID,
        attempt: int,
        deadlines: Deadlines = NO_LIMITS,
        claimed_at: float = 0.0,
        left: int = 0,
        named: tuple[int, UUID] = (-1, NO_TASK),
    ) -> None:
        """`claimed_at` and `left` as in `SlotState`; `named` are its `task_name` and `celery_id`."""
        self._claimed_at, self._left, self._named = claimed_at, left, named
        self._begun += 1
        self._deadlines = deadlines
        if self._tells_memory:
            self._memory = private_bytes(self._pid) or 0
        self._write(Phase.RUNNING, task_id, attempt, deadlines)

    def not_begun(self) -> None:
        """The row that `running` named last is given back before its body. No deadline holds for it any more."""
        self._begun -= 1
        self._deadlines = NO_LIMITS
        self._write(Phase.RUNNING, *self._state)

    def settled(self) -> None:
        self._deadlines = NO_LIMITS
        self._write(Phase.SETTLED, *self._state)

    def delivering(self) -> None:
        """The deadlines stay: for the writing of the end, too, there is a time."""
        self._write(Phase.DELIVERING, *self._state, self._deadlines)

    def soft_limit_met(self) -> Callable[[], None]:
        """Return what notes that the soft time limit has reached the attempt that is in the slot now."""
        return _nothing if self._table is None else partial(self._table.soft_limit_met, self._number, self._begun)

    def order(self) -> Stop | None:
        """Why the attempt in this slot must stop, or None."""
        return None if self._table is None else self._table.ordered(self._number, *self._state)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Pass an order for the attempt in the slot to `listener`, in the main thread, while the block runs.

        The order may be older than the block: it is looked for once at its start.
        """
        try:
            self._listener = listener
            self.on_signal()
            yield
        finally:
            self._listener = None

    def on_signal(self, *_: object) -> None:
        """The handler of STOP_SIGNAL: pass an order on, once, where a body listens and the order names its attempt."""
        listener, why = self._listener, self.order()
        if listener is None and why is Stop.SOFT_TIME_LIMIT:
            self.soft_limit_met()()  # before the body, which is told at its start, or after it
        if listener is not None and why is not None:
            if why is not Stop.SOFT_TIME_LIMIT:  # which a body may catch, and go on until another order
                self._listener = None  # first: what the listener raises must not meet a second order on its way out
            listener(why)

    def _write(self, phase: Phase, task_id: UUID, attempt: int, deadlines: Deadlines = NO_LIMITS) -> None:
        self._state = (task_id, attempt)
        if self._table is not None:
            extra = (deadlines, self._claimed_at, self._left, self._begun, *self._named, self._memory)
            state = SlotState(self._number, self._pid, self._claims, phase, attempt, task_id, *extra)
            self._table.write(state)
