"""Durations counted in buckets, so that percentiles are sums of numbers, which every database can keep.

Four buckets for each doubling, from a millisecond to thirty days. A percentile is the middle of its bucket, at most
10 % from the duration itself. Bucket 0 holds what is shorter than a millisecond, the last one all that is longer.
"""

import math
from collections.abc import Mapping, Sequence

SHORTEST_SECONDS = 0.001
PER_DOUBLING = 4
LONGEST_SECONDS = 30 * 86_400
LAST = 1 + math.floor(PER_DOUBLING * math.log2(LONGEST_SECONDS / SHORTEST_SECONDS))


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration."""
    if seconds < SHORTEST_SECONDS:
        return 0
    return min(LAST, 1 + math.floor(PER_DOUBLING * math.log2(seconds / SHORTEST_SECONDS)))


def start_of(bucket: int) -> float:
    """Return the shortest duration of a bucket, in seconds."""
    return 0.0 if bucket == 0 else SHORTEST_SECONDS * 2 ** ((bucket - 1) / PER_DOUBLING)


def middle_of(bucket: int) -> float:
    """Return the duration that stands for the bucket: as many times its start as its end is of it."""
    if bucket == 0:
        return SHORTEST_SECONDS
    return math.sqrt(start_of(bucket) * start_of(bucket + 1))


def percentiles(numbers: Mapping[int, int], percents: Sequence[int]) -> list[float | None]:
    """Return each percentile (nearest rank) of durations that are counted by bucket. None where there are none."""
    total = sum(numbers.values())
    if total == 0:
        return [None] * len(percents)
    return [_significant(middle_of(_bucket_of_rank(numbers, math.ceil(total * each / 100)))) for each in percents]


def _bucket_of_rank(numbers: Mapping[int, int], rank: int) -> int:
    passed = 0
    for bucket in sorted(numbers):
        passed += numbers[bucket]
        if passed >= rank:
            return bucket
    return LAST


def _significant(seconds: float) -> float:
    """To three digits: more would promise what a bucket does not know."""
    return float(f"{seconds:.3g}")
