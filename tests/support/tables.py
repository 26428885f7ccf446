"""A table of examples in one test, which names every row that fails and not the first one alone."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest


@contextmanager
def cases() -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """`with cases() as case:`, and in it `with case("a name"):` around what is asserted of each row.

    A table without rows fails too.
    """
    tried = 0
    failed: list[BaseException] = []

    @contextmanager
    def case(*name: object) -> Iterator[None]:
        nonlocal tried
        tried += 1
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 (the note says in which row)
            error.add_note(f"in the row {', '.join(map(str, name)):.200}")
            failed.append(error)

    try:
        yield case
    except (Exception, pytest.fail.Exception) as error:
        if not failed:
            raise
        error.add_note("outside of a row")
        failed.append(error)
    assert tried, "the table is empty"
    if failed:
        raise BaseExceptionGroup(f"{len(failed)} of {tried} rows", failed)


def check_rows(check: Callable[..., object], rows: Iterable[Any]) -> None:
    """Call `check` with each row, a tuple as several arguments. It asserts, or returns what is true if the row holds."""
    with cases() as case:
        for row in rows:
            with case(repr(row)):
                held = check(*row) if isinstance(row, tuple) else check(row)
                assert held is None or held, "it does not hold"
