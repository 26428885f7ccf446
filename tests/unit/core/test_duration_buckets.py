"""Buckets of durations, and the percentiles that they give."""

import math
from bisect import bisect_right
from collections import Counter

from app.core.duration_buckets import (
    LAST,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    bucket_of,
    middle_of,
    percentiles,
    start_of,
)
from tests.support.properties import given, st

STARTS = [start_of(bucket) for bucket in range(LAST + 1)]
WITHIN = st.floats(SHORTEST_SECONDS, LONGEST_SECONDS)


def test_buckets_cover_a_millisecond_to_thirty_days_four_for_each_doubling() -> None:
    assert STARTS[:2] == [0.0, SHORTEST_SECONDS]
    assert sorted(STARTS) == STARTS
    assert all(math.isclose(start_of(bucket + 4), 2 * start_of(bucket)) for bucket in range(1, LAST - 3))
    assert STARTS[-1] <= LONGEST_SECONDS < start_of(LAST + 1)


@given(WITHIN)
def test_the_bucket_is_what_a_reader_would_look_up(seconds: float) -> None:
    found = bucket_of(seconds)
    assert found == bisect_right(STARTS, seconds) - 1 or math.isclose(seconds, start_of(found))


def test_what_is_shorter_or_longer_is_in_the_first_or_the_last_one() -> None:
    assert [*map(bucket_of, (-1.0, 0.0, 0.0009, SHORTEST_SECONDS, 1e9))] == [0, 0, 0, 1, LAST]


@given(WITHIN)
def test_the_middle_is_at_most_a_tenth_off(seconds: float) -> None:
    assert abs(middle_of(bucket_of(seconds)) / seconds - 1) < 0.1


@given(st.lists(WITHIN, min_size=1, max_size=300), st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_at_most_a_tenth_off_the_nearest_rank(durations: list[float], percent: int) -> None:
    exact = sorted(durations)[math.ceil(len(durations) * percent / 100) - 1]
    (found,) = percentiles(Counter(map(bucket_of, durations)), [percent])
    assert found is not None
    assert abs(found / exact - 1) <= 0.1


def test_percentiles_of_few() -> None:
    last = float(f"{middle_of(LAST):.3g}")
    for numbers, expected in (
        ({}, [None, None]),
        ({3: 0}, [None, None]),
        ({0: 1}, [SHORTEST_SECONDS, SHORTEST_SECONDS]),
        ({0: 50, LAST: 50}, [SHORTEST_SECONDS, last]),
        ({LAST: 1}, [last, last]),
    ):
        assert percentiles(numbers, [50, 95]) == expected, numbers
