"""The fair order of what several users wait for: whose item is next, and what becomes of those that leave."""

import pytest

from app.core.fair_order import FairQueue, by_turns


def test_a_list_has_the_first_of_each_user_before_the_second_of_any() -> None:
    assert by_turns(["a1", "a2", "a3", "b1", "c1", "b2"], lambda each: each[0]) == ["a1", "b1", "c1", "a2", "b2", "a3"]


@pytest.fixture
def queue() -> FairQueue[str, int]:
    made: FairQueue[str, int] = FairQueue()
    for number, user in enumerate("aaabbc"):
        made.add(user, number)
    return made


class TestAQueue:
    def test_serves_users_in_turn_and_each_in_order(self, queue: FairQueue[str, int]) -> None:
        assert [queue.take() for _ in range(4)] == [("a", 0), ("b", 3), ("c", 5), ("a", 1)]
        queue.add("c", 6)
        assert [queue.take() for _ in range(4)] == [("b", 4), ("a", 2), ("c", 6), None]

    def test_knows_how_many_wait(self, queue: FairQueue[str, int]) -> None:
        assert (len(queue), queue.number_of("a"), queue.number_of("z")) == (6, 3, 0)
        queue.take()
        queue.remove("b", 3)
        assert (len(queue), queue.number_of("a"), queue.number_of("b")) == (4, 2, 1)

    def test_forgets_a_user_of_whom_nothing_waits(self, queue: FairQueue[str, int]) -> None:
        queue.remove("c", 5)
        with pytest.raises(KeyError):
            queue.remove("c", 5)
        assert [queue.take() for _ in range(3)] == [("a", 0), ("b", 3), ("a", 1)]

    def test_keeps_the_turn_of_who_may_not_have_one_now(self, queue: FairQueue[str, int]) -> None:
        assert queue.take(lambda user: user != "a") == ("b", 3)
        assert queue.take(lambda user: user == "d") is None
        assert [queue.take() for _ in range(3)] == [("a", 0), ("c", 5), ("b", 4)]
