"""The list of consumers, which is made when its module is imported."""

import pytest

from app.services.consumers import with_own_numbers
from app.services.outbox import Consumer


def consumer(name: str, number: int) -> Consumer:
    return Consumer(name, number, lambda db, events: None)


def test_consumers_with_numbers_of_their_own_are_kept_in_their_order() -> None:
    consumers = consumer("webhooks", 1), consumer("dependencies", 0)
    assert with_own_numbers(*consumers) == consumers
    assert with_own_numbers() == ()


@pytest.mark.parametrize("name", ["dependencies", "webhooks"])
def test_of_two_with_one_number_the_error_says_what_to_do(name: str) -> None:
    with pytest.raises(ValueError, match=rf"consumers webhooks and {name} both have the number 1: .*outbox\.py"):
        with_own_numbers(consumer("webhooks", 1), consumer("other", 2), consumer(name, 1))
