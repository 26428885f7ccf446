"""Hides a private key that is printed line by line: nothing but its first line tells what the others are."""

import re

from app.core.redacted_text import PRIVATE_KEY_BEGINS, PRIVATE_KEY_ENDS
from app.core.redaction import MASK

# A stream and a thread that prints to it.
Source = tuple[str, int]
# More than the largest keys have. Who only mentions how a key begins loses no more than these lines.
LONGEST_KEY = 300
_BEGINS = re.compile(PRIVATE_KEY_BEGINS)
_ENDS = re.compile(PRIVATE_KEY_ENDS)


class PrivateKeyLines:
    """Of one attempt. Not thread-safe."""

    def __init__(self) -> None:
        # The sources that are in the middle of a key, and how many of its lines may follow.
        self._left: dict[Source, int] = {}

    def hide(self, source: Source, line: str) -> str:
        """The line without its part of a key that began in an earlier one. A key that begins in it is left there."""
        if left := self._left.pop(source, 0):
            end = _ENDS.search(line)
            if end is None:
                self._left[source] = left - 1
                return MASK
            line = MASK + line[end.end() :]
        if "-----BEGIN " in line:  # most lines are through here
            *before, last = _BEGINS.split(line)
            if before and not _ENDS.search(last):
                self._left[source] = LONGEST_KEY
        return line
