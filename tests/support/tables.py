"""A table of examples in one test, which names every row that fails and not the first one alone."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def check_rows(check: Callable[..., object], rows: Iterable[Any]) -> None:
    """Call `check` with each row, a tuple as several arguments. It asserts, or returns whether the row holds.

    A table without rows fails too.
    """
    rows = list(rows)
    assert rows, "the table is empty"
    failed = []
    for row in rows:
        try:
            held = check(*row) if isinstance(row, tuple) else check(row)
            assert held is not False, "it does not hold"
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 (the line says which)
            failed.append(f"{row!r:.200}: {type(error).__name__}: {error}")
    assert not failed, f"{len(failed)} of {len(rows)} rows\n" + "\n".join(failed)
