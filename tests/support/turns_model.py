"""Who runs next, in plain Python: start-time fair queueing of the users of each line, and claims in that order.

Nothing here is taken from the statements; where the two differ, one of them is wrong. Turns are equal to the last bit
as long as weights are powers of two.
"""

import itertools
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

# A queue and a priority.
Line = tuple[str, str]
MAX_CRASHES = 3


@dataclass
class WaitingTask:
    """`turn` is None unless it is pending, and its time has come, and it was placed."""

    id: UUID
    user: UUID
    line: Line
    is_short: bool
    is_due: bool = True
    status: str = "pending"
    crashes: int = 0
    turn: float | None = None

    def waits(self, *, is_due: bool) -> None:
        """Pending without a turn."""
        self.status, self.turn, self.is_due = "pending", None, is_due

    def ends(self, status: str) -> None:
        self.status, self.turn = status, None


LAST_ID = UUID(int=2**128 - 1)


class TurnsModel:
    """`lines` in the order of service. A claim takes at most so many tasks as `most` says."""

    def __init__(self, lines: Sequence[Line], most: int) -> None:
        self.lines, self._most = lines, most
        self.tasks: dict[UUID, WaitingTask] = {}
        self.weights: dict[UUID, int] = defaultdict(lambda: 1)
        self.clocks = dict.fromkeys(lines, 0.0)
        self.paused: set[str] = set()
        self._last: dict[tuple[UUID, Line], float] = defaultdict(float)

    # Turns

    def add(self, tasks: Iterable[WaitingTask]) -> None:
        new = {task.id: task for task in tasks}
        self.tasks |= new
        self.place(task for task in new.values() if task.is_due)

    def unplaced(self) -> list[WaitingTask]:
        return [task for task in self.tasks.values() if task.status == "pending" and task.is_due and task.turn is None]

    def place(self, tasks: Iterable[WaitingTask]) -> None:
        """One user's tasks in the order of their ids; between users and lines the order makes no difference."""
        for task in sorted(tasks, key=lambda task: task.id):
            start = max(self.clocks[task.line], self._last[task.user, task.line])
            task.turn = self._last[task.user, task.line] = start + 1 / self.weights[task.user]

    # Claims

    def next_ids(self, left_out: Container[UUID] = ()) -> list[UUID]:
        """The next task, and those behind it as long as all are short."""
        seen = (task for task in self.tasks.values() if self._may_start(task) and task.id not in left_out)
        ready = sorted(seen, key=self._place)[: self._most]
        together = [*itertools.takewhile(self._is_shared, ready)]
        return [task.id for task in together or ready[:1]]

    def left_out(self, found: Sequence[UUID]) -> Iterator[set[UUID]]:
        """The tasks that a claim of these may have left out: others were claimed before that stand behind them.

        They came back with their turns. A line is looked at from one row on, by turn and id. In a line of which nothing
        was found, this may be a long task, which ends the claim.
        """
        first: dict[Line, tuple[float, UUID]] = {}
        for task in map(self.tasks.__getitem__, found):
            assert task.turn is not None
            first.setdefault(task.line, (task.turn, task.id))
        clocks = {line: (clock, LAST_ID) for line, clock in self.clocks.items()}
        behind = {line: min(clock, first.get(line, clock)) for line, clock in clocks.items()}
        yield self._before(behind)
        for task in self.tasks.values():
            if task.turn is not None and task.line not in first and not self._is_shared(task):
                yield self._before({**behind, task.line: min((task.turn, task.id), behind[task.line])})

    def _before(self, rows: dict[Line, tuple[float, UUID]]) -> set[UUID]:
        tasks = self.tasks.values()
        return {task.id for task in tasks if task.turn is not None and (task.turn, task.id) < rows[task.line]}

    def claim(self, ids: Iterable[UUID]) -> None:
        """They run now, and the clocks go on."""
        for task in map(self.tasks.__getitem__, ids):
            assert task.turn is not None
            self.clocks[task.line] = max(self.clocks[task.line], task.turn)
            task.ends("running")

    def _is_shared(self, task: WaitingTask) -> bool:
        return task.is_short and not task.crashes

    def _place(self, task: WaitingTask) -> tuple[int, float, UUID]:
        assert task.turn is not None
        return self.lines.index(task.line), task.turn, task.id

    def _may_start(self, task: WaitingTask) -> bool:
        """It has a turn, and nothing holds it back: no pause of its queue."""
        return task.turn is not None and task.line[0] not in self.paused

    # What becomes of claimed tasks

    def lose(self, task: WaitingTask) -> None:
        task.crashes += 1
        if task.crashes < MAX_CRASHES:
            task.waits(is_due=True)
        else:
            task.ends("failed")

    def give_back(self, task: WaitingTask, turn: float) -> None:
        """Claimed, and not begun: it has the turn that it had."""
        task.waits(is_due=True)
        task.turn = turn

    def start_over(self, task: WaitingTask) -> None:
        """A client retries it."""
        task.waits(is_due=True)
        task.crashes = 0
        self.place([task])
