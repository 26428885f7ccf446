"""Objects of which each process has its own, across real forks."""

import os
from collections.abc import Callable

from app.core.fork import PerProcess


def true_in_a_child(check: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check() else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_each_process_makes_one_at_its_first_use() -> None:
    mine: PerProcess[list[int]] = PerProcess(lambda: [os.getpid()])
    assert mine.made is None
    assert mine() is mine() is mine.made
    parents = mine()
    assert parents == [os.getpid()]
    assert true_in_a_child(lambda: mine.made is None and mine() == [os.getpid()])
    assert mine() is parents


def test_a_forked_child_may_inherit_from_its_parents() -> None:
    mine: PerProcess[list[int]] = PerProcess(lambda: [1], inherit=lambda parents: [*parents, 2])
    assert true_in_a_child(lambda: mine() == [1])  # the parent had none
    assert mine() == [1]
    assert true_in_a_child(lambda: mine() == [1, 2])
    assert mine() == [1]


def test_it_can_be_replaced() -> None:
    mine: PerProcess[list[int]] = PerProcess(lambda: [1])
    mine.replace([2])
    assert mine() == [2]
    mine.replace(None)
    assert mine() == [1]
