"""Pictures are drawn of what there is, and of nothing else; their figures are right."""

import math
from pathlib import Path

import pytest

from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal
from tests.performance.plots import attained, draw, histogram, rates
from tests.support.tools import needs


def row(goal: Goal, *values: float) -> Comparison:
    return Comparison("x", "y", goal, [*values])


class TestAttained:
    @pytest.mark.parametrize(
        ("goal", "value", "share"),
        [(Goal(at_least=5), 2.5, 0.5), (Goal(at_most=2), 4.0, 0.5), (Goal(at_most=2), 1.0, 2.0), (Goal(at_most=0), 0.0, 1.0),
         (Goal(at_most=0), 3.0, 0.0), (Goal(at_most=5), 0.0, math.inf)],
        ids=["half of at least", "twice at most", "half of at most", "none as asked", "some of none", "nothing of at most"],
    )  # fmt: skip
    def test_looks_the_same_way_for_both_kinds_of_goal(self, goal: Goal, value: float, share: float) -> None:
        assert attained(row(goal, value), value) == share


class TestHistogram:
    def test_holds_every_value(self) -> None:
        edges, shares = histogram([0.001, 0.002, 0.004, 0.004], 0.001, 0.004)
        assert sum(shares) == pytest.approx(100)
        assert shares[-1] == 50
        assert edges[0] == pytest.approx(1)
        assert edges[-1] == pytest.approx(4)

    def test_of_equal_values_is_one_step(self) -> None:
        _, shares = histogram([0.001, 0.001], 0.001, 0.001)
        assert sorted(shares)[-2:] == [0, 100]


class TestRates:
    def test_are_a_second_and_break_between_turns(self) -> None:
        middles, done = rates([10.0, 10.1, 10.6, 12.0], begun=10.0, width=0.5)
        assert middles == [0.25, 0.75, 1.25, 1.75, 2.25]
        assert done[:2] == [4.0, 2.0]
        assert all(math.isnan(value) for value in done[2:4])
        assert done[4] == 2.0

    def test_leave_out_the_ends_of_a_turn(self) -> None:
        _, done = rates([0.4, 0.5, 0.9, 1.0, 1.4, 1.5, 4.1], begun=0.0, width=0.5)
        assert math.isnan(done[0])
        assert done[1:3] == [4.0, 4.0]
        assert all(math.isnan(value) for value in done[3:8])
        assert done[8] == 2.0


@needs("matplotlib")
class TestDraw:
    def test_draws_what_there_is(self, tmp_path: Path) -> None:
        one = Findings("submit", [row(Goal(at_least=5), 4.0, 6.0), row(Goal(at_most=0), 0.0)])
        one.latencies = {"ours": [0.001, 0.002], "none": []}
        one.moments = {"ours": [1.0, 1.1, 5.0], "theirs": [2.0]}
        one.curves = {"page": [(10.0, 1.0), (100.0, 2.0)]}
        drawn = draw([one], lambda name: tmp_path / f"{name}.png")
        assert [path.stem for path in drawn] == ["goals", "latency", "throughput", "growth"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)

    def test_draws_nothing_of_nothing(self, tmp_path: Path) -> None:
        skipped = Findings("live")
        skipped.skip("events", "Redis", "they are not there")
        assert draw([skipped], lambda name: tmp_path / f"{name}.png") == []
