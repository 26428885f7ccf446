"""Run polars, and say its errors in words without its internals."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from app.tasks.data.errors import UnusableData

# A fault of polars itself, for which it has no error: for example on some damaged files. Not an Exception.
Panic: type[BaseException] = pl.exceptions.PanicException


@contextmanager
def polars_errors(sentence: str) -> Iterator[None]:
    """Make an error of polars an UnusableData with this sentence."""
    try:
        yield
    except (pl.exceptions.PolarsError, Panic):
        raise UnusableData(sentence) from None
