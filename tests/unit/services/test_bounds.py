"""A flood causes so many records and no more."""

from app.services.tasks.bounds import MAX_KEPT, PerMinute


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class TestPerMinute:
    def test_admits_so_many_of_a_key_and_counts_the_rest(self) -> None:
        clock = Clock()
        bounds = PerMinute(3, 100, clock)
        assert [bounds.admit("anna") for _ in range(5)] == [0, 0, 0, None, None]
        assert bounds.admit("bob") == 0
        clock.now += 59.9
        assert bounds.admit("anna") is None
        clock.now += 0.2
        assert [bounds.admit("anna") for _ in range(2)] == [3, 0]

    def test_admits_so_many_in_all(self) -> None:
        clock = Clock()
        bounds = PerMinute(3, 5, clock)
        admitted = [bounds.admit(f"address {number}") for number in range(20)]
        assert admitted == [0] * 5 + [None] * 15
        clock.now += 60
        assert bounds.admit("address 19") == 1

    def test_remembers_no_more_callers_than_so_many(self) -> None:
        bounds = PerMinute(1, 2, Clock())
        for number in range(3 * MAX_KEPT):
            bounds.admit(f"address {number}")
        assert len(bounds._admitted) == 2
        assert len(bounds._left_out) == MAX_KEPT
