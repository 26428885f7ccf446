"""A test that goes through a table to its end, and names every row that fails."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@contextmanager
def cases() -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """`with cases() as case:`, and in it `with case("a name"):` around what is asserted of each row."""
    tried, failures = 0, []

    @contextmanager
    def case(*name: object) -> Iterator[None]:
        nonlocal tried
        tried += 1
        try:
            yield
        except (AssertionError, pytest.fail.Exception, LookupError, TypeError, ValueError) as error:
            failures.append(f"{', '.join(map(str, name))[:120]}: {type(error).__name__}: {error}")

    yield case
    assert tried, "the table is empty"
    assert not failures, f"{len(failures)} of {tried}:\n" + "\n".join(failures)
