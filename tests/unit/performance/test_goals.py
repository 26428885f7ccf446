"""A row says what was measured, how far it spread, and whether that is what was asked for."""

import pytest

from tests.performance.goals import Comparison, Goal, figure, ratio


class TestGoal:
    @pytest.mark.parametrize(
        ("goal", "value", "reached"),
        [(Goal(at_least=5), 5.0, True), (Goal(at_least=5), 4.99, False), (Goal(at_most=2), 2.0, True),
         (Goal(at_most=2), 2.01, False), (Goal(), 7.0, None), (Goal(at_most=0), 0.0, True)],
        ids=["at least, just", "at least, not quite", "at most, just", "at most, a little more", "nothing is asked", "none at all"],
    )  # fmt: skip
    def test_is_reached_at_its_very_figure(self, goal: Goal, value: float, reached: bool | None) -> None:
        assert goal.reached(value) is reached

    def test_is_told_with_its_unit(self) -> None:
        assert [str(Goal(at_least=5)), str(Goal(at_most=2, unit="µs")), str(Goal())] == ["≥ 5 ×", "≤ 2 µs", "—"]


class TestComparison:
    def test_is_judged_by_the_median_of_its_rounds(self) -> None:
        row = Comparison("x", "y", Goal(at_least=5), [1.0, 6.0, 7.0])
        assert row.median == 6
        assert row.verdict == "reached"

    def test_tells_the_extremes_of_rounds_that_differ(self) -> None:
        assert Comparison("x", "y", Goal(at_least=5), [1.0, 6.0, 70.0]).measured == "6 × (1–70)"
        assert Comparison("x", "y", Goal(at_least=5), [6.0, 6.001]).measured == "6 ×"

    def test_skipped_is_neither_reached_nor_missed(self) -> None:
        row = Comparison("x", "y", Goal(at_least=5), skipped="skipped: it is not there")
        assert row.reached is None
        assert row.verdict == "skipped"
        assert row.measured == "skipped: it is not there"


class TestFigures:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0"),
            (0.0521, "0.052"),
            (1.0, "1"),
            (2.345, "2.35"),
            (23.45, "23.4"),
            (1234.5, "1,234"),
            (-0.5, "-0.5"),
        ],
        ids=str,
    )
    def test_have_three_digits(self, value: float, text: str) -> None:
        assert figure(value) == text

    def test_a_ratio_to_nothing_is_nothing(self) -> None:
        assert (ratio(3, 2), ratio(3, 0)) == (1.5, 0.0)
