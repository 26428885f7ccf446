"""Text that comes in pieces, put together to lines."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Source = TypeVar("Source", bound=Hashable)


class BegunLines(Generic[Source]):
    """The lines that are begun and not ended, one for each source. Not for several threads at once.

    After a carriage return a line is written anew, as on a terminal: of a progress bar the last state is left.
    """

    def __init__(self, longest: int) -> None:
        """`longest` is how many characters of a line are kept."""
        self._longest = longest
        self._begun: dict[Source, str] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def add(self, source: Source, text: str) -> list[str]:
        """Return the lines that `text` ends; keep what it begins until its end comes."""
        *ended, begun = text.split("\n")
        lines = [_last_state(self._begun.pop(source, "") + part) for part in ended]
        if begun:
            line = self._begun.pop(source, "") + begun
            before, again, after = line.rpartition("\r")
            # A return at the end has not overwritten anything yet.
            line = after if after or not again else before.rpartition("\r")[2] + "\r"
            self._begun[source] = line[: self._longest]
        return [line[: self._longest] for line in lines]

    def end(self) -> Iterator[tuple[Source, str]]:
        """Yield what was begun as lines, and forget it."""
        begun, self._begun = self._begun, {}
        for source, text in begun.items():
            yield source, _last_state(text)


def _last_state(line: str) -> str:
    return line.removesuffix("\r").rpartition("\r")[2]
