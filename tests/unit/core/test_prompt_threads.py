"""The switch interval is short while calls run, and what it was before after the last one."""

import sys
from collections.abc import Iterator

import pytest

from app.core.fair_threads import PROMPT_SECONDS, PromptThreads


@pytest.fixture(autouse=True)
def usual() -> Iterator[float]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.004)
    yield 0.004
    sys.setswitchinterval(before)


def test_the_interval_is_short_until_the_last_call_ends(usual: float) -> None:
    prompt = PromptThreads()
    prompt.begin()
    prompt.begin()
    prompt.end()
    assert sys.getswitchinterval() == pytest.approx(PROMPT_SECONDS)
    prompt.end()
    assert sys.getswitchinterval() == pytest.approx(usual)
