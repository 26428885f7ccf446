"""How long a transfer may go on at which rate."""

import pytest

from app.api.http.peers import MinimumRate

SECONDS, RATE = 20.0, 1000.0


def lasts(rate: float, most: int = 10_000) -> int:
    """The seconds after which a transfer at this rate ends; `most` if it does not."""
    transfer = MinimumRate(SECONDS, RATE, 0.0)
    return next((second for second in range(1, most) if not transfer.moved(int(rate), float(second))), most)


def test_a_transfer_below_the_rate_ends() -> None:
    ends = {0: 21, 1: 21, 500: 41, 900: 201, 1000: 10_000, 5000: 10_000}
    assert {rate: lasts(rate) for rate in ends} == pytest.approx(ends, abs=1)


def test_what_came_fast_before_does_not_pay_for_a_long_silence() -> None:
    transfer = MinimumRate(SECONDS, RATE, 0.0)
    assert transfer.moved(10_000_000, 1.0)
    assert transfer.moved(0, 1.0 + SECONDS)
    assert not transfer.moved(0, 1.1 + SECONDS)


def test_time_in_which_the_server_was_not_ready_does_not_count() -> None:
    transfer = MinimumRate(SECONDS, RATE, 0.0)
    transfer.excuse(1000.0)
    assert transfer.moved(0, 1000.0 + SECONDS)
    assert not transfer.moved(0, 1001.0 + SECONDS)
