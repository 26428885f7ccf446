"""The model of who runs next, by what the documents say of turns."""

from itertools import count
from uuid import UUID

from tests.support.turns_model import TurnsModel, WaitingTask

LINES = [("high_priority", "high"), ("default", "normal")]
HIGH, NORMAL = LINES
ANN, BOB = UUID(int=1), UUID(int=2)


class Queue:
    def __init__(self, most: int = 10) -> None:
        self.model = TurnsModel(LINES, most)
        self._ids = count(100)
        self._names: dict[UUID, str] = {}

    def add(self, user: UUID, *names: str, line: tuple[str, str] = NORMAL, is_short: bool = True) -> None:
        for name in names:
            task = WaitingTask(UUID(int=next(self._ids)), user, line, is_short)
            self._names[task.id] = name
            self.model.add([task])

    def next(self) -> list[str]:
        return [self._names[task_id] for task_id in self.model.next_ids()]

    def claim(self) -> list[str]:
        ids = self.model.next_ids()
        self.model.claim(ids)
        return [self._names[task_id] for task_id in ids]


def test_a_users_tasks_in_their_order_beside_those_of_another() -> None:
    queue = Queue()
    queue.add(ANN, "a1", "a2", "a3")
    queue.add(BOB, "b1")
    assert queue.claim() == ["a1", "b1", "a2", "a3"]


def test_the_first_task_of_one_user_stands_before_the_second_of_another_whatever_he_has_queued() -> None:
    queue = Queue(most=2)
    queue.add(ANN, *(f"a{number}" for number in range(1, 100)))
    assert queue.claim() == ["a1", "a2"]
    queue.add(BOB, "b1")
    assert queue.claim() == ["a3", "b1"]


def test_who_was_away_has_saved_nothing_up() -> None:
    queue = Queue(most=1)
    queue.add(ANN, *(f"a{number}" for number in range(1, 6)))
    for _ in range(3):
        queue.claim()
    queue.add(BOB, "b1", "b2", "b3")
    assert [queue.claim() for _ in range(4)] == [["a4"], ["b1"], ["a5"], ["b2"]]


def test_a_weight_is_a_share() -> None:
    queue = Queue()
    queue.model.weights[ANN] = 2
    queue.add(ANN, "a1", "a2", "a3", "a4")
    queue.add(BOB, "b1", "b2")
    assert queue.claim() == ["a1", "a2", "b1", "a3", "a4", "b2"]


def test_lines_in_the_order_of_service() -> None:
    queue = Queue()
    queue.add(ANN, "a1", line=NORMAL)
    queue.add(ANN, "a2", line=HIGH)
    assert queue.claim() == ["a2", "a1"]


def test_a_long_task_is_claimed_alone() -> None:
    queue = Queue()
    queue.add(ANN, "a1")
    queue.add(ANN, "a2", is_short=False)
    queue.add(ANN, "a3")
    assert [queue.claim() for _ in range(3)] == [["a1"], ["a2"], ["a3"]]


def test_what_is_given_back_is_next_and_may_be_left_out_behind_others() -> None:
    queue = Queue(most=1)
    queue.add(ANN, "a1", "a2", "a3")
    first, second = (queue.model.next_ids(), queue.claim())[0], queue.claim()
    assert second == ["a2"]
    task = queue.model.tasks[first[0]]
    queue.model.give_back(task, 1.0)
    assert queue.next() == ["a1"]
    later = [task_id for task_id, each in queue.model.tasks.items() if each.turn == 3.0]
    assert [*queue.model.left_out(later)] == [{task.id}]


def test_nothing_of_a_paused_queue() -> None:
    queue = Queue()
    queue.add(ANN, "a1")
    queue.model.paused.add("default")
    assert queue.claim() == []
