"""Shares of the queues: which queue is served next, and what the setting may say."""

from collections import Counter

import pytest

from app.core.config import ConfigurationError
from app.services.execution.claims import QueueShares, check_queue_shares
from tests.support.properties import given, st

QUEUES = ("high_priority", "default", "low_priority")
SHARES = {"high_priority": 6, "default": 3, "low_priority": 1}


def serve(shares: QueueShares, number: int, waiting: "Counter[str] | None" = None, batch: int = 1) -> "Counter[str]":
    """Which queues the next starts are of, so many in a claim. `waiting`: tasks that each has ready, or endless ones."""
    served: Counter[str] = Counter()
    for _ in range(number // batch):
        taken: list[str] = []
        for queue in shares.order():
            ready = batch if waiting is None else waiting[queue]
            taken += [queue] * min(ready, batch - len(taken))
        shares.started(taken)
        served.update(taken)
        if waiting is not None:
            waiting.subtract(taken)
    return served


class TestOrder:
    @given(st.lists(st.integers(1, 1000), min_size=2, max_size=6), st.integers(1, 10))
    def test_each_queue_has_its_share_of_any_starts_within_a_claim_for_each_other(
        self, given_shares: list[int], batch: int
    ) -> None:
        named = {f"q{number}": share for number, share in enumerate(given_shares)}
        shares, total = QueueShares(list(named), named), sum(given_shares)
        served: Counter[str] = Counter()
        for number in range(batch, 500 * batch, batch):
            served += serve(shares, batch, batch=batch)
            for queue, share in named.items():
                assert abs(served[queue] - number * share / total) <= len(named) * batch

    def test_an_empty_queue_gives_its_share_to_the_others(self) -> None:
        waiting = Counter({"default": 1000, "low_priority": 1000})
        assert serve(QueueShares(QUEUES, SHARES), 400, waiting) == {"default": 300, "low_priority": 100}

    def test_a_queue_that_was_empty_has_saved_nothing_up(self) -> None:
        shares = QueueShares(QUEUES, SHARES)
        serve(shares, 1000, Counter({"default": 1000, "low_priority": 1000}))
        served = serve(shares, 100)
        assert abs(served["high_priority"] - 60) <= 1
        assert abs(served["low_priority"] - 10) <= 1

    def test_a_queue_that_was_alone_owes_nothing(self) -> None:
        shares = QueueShares(QUEUES, SHARES)
        serve(shares, 1000, Counter({"low_priority": 1000}))
        assert abs(serve(shares, 100)["low_priority"] - 10) <= 1

    def test_a_queue_that_is_not_named_has_the_share_1(self) -> None:
        shares = QueueShares((*QUEUES, "reports"), SHARES)
        assert serve(shares, 1100) == {"high_priority": 600, "default": 300, "low_priority": 100, "reports": 100}

    def test_equal_turns_go_by_the_order_of_service(self) -> None:
        assert QueueShares(QUEUES, SHARES).order() == [*QUEUES]


class TestCheck:
    def test_names_a_queue_that_there_is_not(self) -> None:
        with pytest.raises(ConfigurationError, match=r"QUEUE_SHARES: no queue fast .*high_priority"):
            check_queue_shares({"default": 3, "fast": 6})

    def test_takes_the_queues_that_there_are(self) -> None:
        check_queue_shares(SHARES)
