"""The waits of one count, without a database."""

from datetime import UTC, datetime, timedelta

from app.db.statements.accounts import StoredCount
from app.services.accounts.login_throttle import Limit

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY, WINDOW = timedelta(days=1), timedelta(seconds=900)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


class TestARow:
    LIMIT = Limit("key", free=3, memory=DAY, longest_wait=WINDOW, is_row=True)

    def waits(self, events: int, apart: timedelta) -> list[float]:
        """The wait after each of these events."""
        count, now, waits = None, NOW, []
        for _ in range(events):
            count = self.LIMIT.after(count, now)
            waits.append(self.LIMIT.wait(count, now))
            now += apart
        return waits

    def test_doubles_its_wait_up_to_the_longest(self) -> None:
        assert self.waits(14, seconds(0)) == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]

    def test_goes_on_however_slowly_the_events_come(self) -> None:
        assert self.waits(6, DAY - seconds(1)) == [0, 0, 1, 2, 4, 8]

    def test_ends_when_nothing_happened_for_its_memory(self) -> None:
        assert self.waits(6, DAY) == [0] * 6

    def test_of_very_many_events_has_a_wait_too(self) -> None:
        count = self.LIMIT.after(StoredCount(1_000_000, NOW, NOW), NOW)
        assert self.LIMIT.wait(count, NOW) == 900

    def test_tells_what_is_left_of_the_wait(self) -> None:
        count = self.LIMIT.after(StoredCount(6, NOW, None), NOW)
        waits = [self.LIMIT.wait(count, NOW + seconds(later)) for later in (0, 10, 15.5, 16, 100)]
        assert waits == [16, 6, 0.5, 0, 0]


class TestAWindow:
    def test_without_a_longest_wait_lasts_until_it_is_over(self) -> None:
        limit, count = Limit("key", free=2, memory=WINDOW), None
        for _ in range(2):
            assert limit.wait(count, NOW) == 0
            count = limit.after(count, NOW)
        assert [limit.wait(count, NOW + seconds(later)) for later in (0, 899, 900)] == [900, 1, 0]
        assert limit.after(count, NOW + WINDOW) == StoredCount(1, NOW + WINDOW, None)

    def test_begins_with_its_first_event(self) -> None:
        limit = Limit("key", free=2, memory=WINDOW, longest_wait=WINDOW)
        count = limit.after(limit.after(None, NOW), NOW + seconds(890))
        assert count == StoredCount(2, NOW, NOW + seconds(891))
        for _ in range(8):
            count = limit.after(count, NOW + seconds(890))
        assert limit.wait(count, NOW + seconds(890)) == 10  # the window's end, before the doubled wait's
        assert limit.wait(count, NOW + seconds(900)) == 0
