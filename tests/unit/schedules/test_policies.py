"""What becomes of the times of a schedule: caught up or missed, run, skipped or held, whatever the looks at it are."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from app.schedules import policies
from app.schedules.policies import CatchUp, Decision, Overlap, Window, catch_up, decide
from app.schedules.times import Span, Timing
from tests.support.calls import calls
from tests.support.properties import given, st

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERY_MINUTE = Timing(None, 60, "UTC", START, None)


def at(*minutes: float) -> list[datetime]:
    return [START + minute * MINUTE for minute in minutes]


def missed_span(first: float, last: float, count: int) -> Span:
    return Span(START + first * MINUTE, START + last * MINUTE, count)


def window(after: float, until: float, resumed: float | None = None) -> Window:
    return Window(START + after * MINUTE, START + until * MINUTE, None if resumed is None else START + resumed * MINUTE)


class TestCatchingUp:
    @pytest.mark.parametrize("policy", CatchUp)
    def test_runs_what_is_due_now_whatever_the_policy_is(self, policy: CatchUp) -> None:
        found = catch_up(EVERY_MINUTE, window(0.5, 1.05), policy, timedelta(0))
        assert (found.run, found.missed, found.done_until) == (at(1), None, window(0, 1.05).until)

    @pytest.mark.parametrize("policy", CatchUp)
    def test_of_no_times_is_nothing(self, policy: CatchUp) -> None:
        found = catch_up(EVERY_MINUTE, window(0.5, 0.9), policy, timedelta(0))
        assert (found.run, found.missed, found.done_until) == ([], None, window(0, 0.9).until)

    @pytest.mark.parametrize(
        ("policy", "run", "missed"),
        [
            (CatchUp.NONE, [], missed_span(1, 5, 5)),
            (CatchUp.LATEST, at(5), missed_span(1, 4, 4)),
            (CatchUp.ALL, at(3, 4, 5), missed_span(1, 2, 2)),
        ],
    )
    def test_of_five_times_within_three_minutes(self, policy: CatchUp, run: list[datetime], missed: Span) -> None:
        found = catch_up(EVERY_MINUTE, window(0.5, 5.5), policy, 3 * MINUTE)
        assert (found.run, found.missed) == (run, missed)

    @pytest.mark.parametrize("policy", [CatchUp.LATEST, CatchUp.ALL])
    def test_of_what_is_too_late_is_none(self, policy: CatchUp) -> None:
        found = catch_up(EVERY_MINUTE, window(0.5, 5.5), policy, timedelta(seconds=20))
        assert (found.run, found.missed) == ([], missed_span(1, 5, 5))

    @pytest.mark.parametrize("policy", CatchUp)
    def test_runs_each_time_that_is_on_time_and_of_the_others_what_the_policy_says(self, policy: CatchUp) -> None:
        each_second = Timing(None, 1, "UTC", START, None)
        found = catch_up(each_second, window(0, 5.01 / 60), policy, timedelta(0))
        assert (found.run, found.missed) == (at(*(second / 60 for second in range(1, 6))), None)
        found = catch_up(each_second, window(0, 7.5 / 60), policy, timedelta(seconds=6))
        first = 2 if policy is CatchUp.ALL else 3
        assert found.run == at(*(second / 60 for second in range(first, 8)))
        assert found.missed == missed_span(1 / 60, (first - 1) / 60, first - 1)

    @pytest.mark.parametrize("policy", CatchUp)
    def test_of_more_on_time_than_it_may_run_goes_on_at_the_next_look(self, policy: CatchUp) -> None:
        each_second = Timing(None, 1, "UTC", START, None)
        found = catch_up(each_second, window(0, 4.5 / 60), policy, timedelta(0), most=3)
        assert (found.run, found.missed, found.done_until) == (at(1 / 60, 2 / 60, 3 / 60), None, at(3 / 60)[0])

    def test_of_a_pause_runs_nothing_that_would_be_on_time(self) -> None:
        found = catch_up(EVERY_MINUTE, window(0.5, 2.01, resumed=2), CatchUp.NONE, MINUTE)
        assert (found.run, found.missed) == ([], missed_span(1, 2, 2))
        found = catch_up(EVERY_MINUTE, window(1.5, 2.01, resumed=2), CatchUp.LATEST, timedelta(0))
        assert (found.run, found.missed) == ([], missed_span(2, 2, 1))

    def test_leaves_out_what_has_a_task_already(self) -> None:
        found = catch_up(EVERY_MINUTE, window(0.5, 5.5), CatchUp.LATEST, MINUTE, set(at(2, 5)))
        assert (found.run, found.missed) == ([], missed_span(1, 4, 3))
        found = catch_up(EVERY_MINUTE, window(0.5, 5.5), CatchUp.NONE, MINUTE, set(at(1, 2, 4, 5)))
        assert (found.run, found.missed) == ([], missed_span(3, 3, 1))
        found = catch_up(EVERY_MINUTE, window(0.5, 1.5), CatchUp.NONE, MINUTE, set(at(1)))
        assert (found.run, found.missed) == ([], None)

    def test_of_more_than_it_may_run_goes_on_at_the_next_look(self) -> None:
        found = catch_up(EVERY_MINUTE, window(0.5, 5.5), CatchUp.ALL, 9 * MINUTE, most=2)
        assert (found.run, found.missed, found.done_until) == (at(1, 2), None, at(2)[0])

    def test_counts_so_many_missed_ones_of_a_cron_line_at_one_look(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(policies, "MOST_MISSED", 3)
        each_minute = Timing("* * * * *", None, "UTC", START, None)
        found = catch_up(each_minute, window(0.5, 9.5), CatchUp.LATEST, MINUTE)
        assert (found.run, found.missed, found.done_until, found.due_at) == (
            [],
            missed_span(1, 3, 3),
            at(3)[0],
            at(4)[0],
        )

    @pytest.mark.parametrize("policy", CatchUp)
    def test_of_an_interval_costs_the_same_whatever_number_was_missed(self, policy: CatchUp) -> None:
        costs = []
        for days in (1, 300):
            each_second, until = Timing(None, 1, "UTC", START, None), START + timedelta(days=days, seconds=0.5)
            span, done = Window(START, until, until), {START + timedelta(seconds=1), START + timedelta(seconds=3)}
            costs.append(sum(calls(lambda args=(each_second, span, policy, MINUTE, done): catch_up(*args))))
            found = catch_up(each_second, span, policy, MINUTE, done)
            assert found.missed is not None
            assert found.missed.count + len(found.run) + len(done) == days * 86_400
            assert found.missed.first == START + timedelta(seconds=2)
            assert found.done_until == until
        assert costs[0] == costs[1] < 2000

    def test_of_a_cron_line_counts_no_more_than_it_tells(self) -> None:
        each_minute = Timing("* * * * *", None, "UTC", START, None)
        python, _ = calls(lambda: catch_up(each_minute, window(0.5, 216_000.5), CatchUp.LATEST, MINUTE))
        assert python < 30 * policies.MOST_MISSED

    @given(
        policy=st.sampled_from(CatchUp),
        looks=st.lists(st.floats(0.01, 400), min_size=1, max_size=12),
        within=st.integers(0, 10_000),
        step=st.integers(1, 600),
        most=st.integers(1, 5),
        end=st.none() | st.floats(0, 900),
    )
    def test_deals_with_each_time_once_and_in_order(
        self, policy: CatchUp, looks: list[float], within: int, step: int, most: int, end: float | None
    ) -> None:
        """Whatever the looks are: the clock may stand still, and a look may be late."""
        timing = Timing(None, step, "UTC", START, None if end is None else START + end * MINUTE)
        done = begin = START - MINUTE
        run: list[datetime] = []
        missed: list[Span] = []
        until = begin
        for minutes in looks:
            until = begin + minutes * MINUTE
            span = Window(done, max(until, done))
            found = catch_up(timing, span, policy, timedelta(seconds=within), most=most)
            assert done <= found.done_until <= span.until
            assert len(found.run) <= most
            earliest = span.until - max(policies.ON_TIME, timedelta(seconds=within))
            assert all(earliest <= time <= span.until for time in found.run)
            assert found.missed is None or not found.run or found.missed.last < found.run[0]
            run += found.run
            missed += [] if found.missed is None else [found.missed]
            done = found.done_until
        all_times = timing.between(begin, done, 1_000_000)
        of_missed = [time for each in missed for time in all_times if each.first <= time <= each.last]
        assert sorted([*run, *of_missed]) == all_times
        assert sum(each.count for each in missed) == len(of_missed)
        assert all(one < other for one, other in pairwise(run))


class TestOverlap:
    """Of the times 1, 2 and 3."""

    ROWS = (
        # overlap, active, held → run, overlapping, held, cancel
        (Overlap.ALLOW, False, None, [1, 2, 3], [], None, False),
        (Overlap.ALLOW, True, None, [1, 2, 3], [], None, False),
        (Overlap.ALLOW, True, 0, [0, 1, 2, 3], [], None, False),
        (Overlap.SKIP, False, None, [1], [2, 3], None, False),
        (Overlap.SKIP, True, None, [], [1, 2, 3], None, False),
        (Overlap.SKIP, False, 0, [0], [1, 2, 3], None, False),
        (Overlap.SKIP, True, 0, [], [1, 2, 3], 0, False),
        (Overlap.BUFFER_ONE, False, None, [1], [3], 2, False),
        (Overlap.BUFFER_ONE, True, None, [], [2, 3], 1, False),
        (Overlap.BUFFER_ONE, True, 0, [], [1, 2, 3], 0, False),
        (Overlap.BUFFER_ONE, False, 0, [0], [2, 3], 1, False),
        (Overlap.CANCEL_RUNNING, False, None, [3], [1, 2], None, False),
        (Overlap.CANCEL_RUNNING, True, None, [], [1, 2], 3, True),
        (Overlap.CANCEL_RUNNING, True, 0, [], [0, 1, 2], 3, True),
        (Overlap.CANCEL_RUNNING, False, 0, [3], [0, 1, 2], None, False),
    )

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}, {row[1]}, {row[2]}")
    def test_is_decided_by_its_policy(
        self, row: tuple[Overlap, bool, int | None, list[int], list[int], int | None, bool]
    ) -> None:
        overlap, is_active, held, run, overlapping, still_held, cancel = row
        found = decide(at(1, 2, 3), overlap, is_active=is_active, held=None if held is None else at(held)[0])
        expected = Decision(at(*run), at(*overlapping), None if still_held is None else at(still_held)[0], cancel)
        assert found == expected

    @pytest.mark.parametrize("overlap", Overlap)
    def test_without_times_starts_what_is_held_once_nothing_is_active(self, overlap: Overlap) -> None:
        (held,) = at(1)
        assert decide([], overlap, is_active=False, held=held) == Decision([held])
        still = Decision([held]) if overlap is Overlap.ALLOW else Decision([], [], held)
        assert decide([], overlap, is_active=True, held=held) == still

    @given(overlap=st.sampled_from(Overlap), looks=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
    def test_loses_no_time_and_has_one_active_at_most(self, overlap: Overlap, looks: list[tuple[int, bool]]) -> None:
        """Whether the task has ended before each look is drawn as well."""
        held, is_active, number = None, False, 0
        given_: list[datetime] = []
        dealt: list[datetime] = []
        for several, ends in looks:
            is_active = is_active and not ends
            times = at(*range(number, number + several))
            number += several
            given_ += times
            found = decide(times, overlap, is_active=is_active, held=held)
            dealt += [*found.run, *found.overlapping]
            if overlap is not Overlap.ALLOW:
                assert len(found.run) + is_active <= 1
            assert not found.cancel or (is_active and found.held is not None)
            assert found.held is None or is_active or found.run
            is_active, held = is_active or bool(found.run), found.held
        assert sorted([*dealt, *([] if held is None else [held])]) == given_
