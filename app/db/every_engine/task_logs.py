"""The log lines of a task, and the numbers that statements read of them."""

from typing import Any, Protocol

# Number, time (RFC 3339), level, logger, message, and fields as JSON text.
Line = tuple[int, str, int, str, str, str]


class _Answer(Protocol):
    def one_or_none(self) -> Any: ...


def number_of(answer: _Answer) -> int | None:
    """The one number that the statement has read, if any."""
    (number,) = answer.one_or_none() or (None,)
    return None if number is None else int(number)
