"""What a check has found: how bad it is, what is seen, and what to do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """`FAIL`: the service, or a part of it, does not work. `warn`: it works, and something may go wrong later."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Text:
    """An English text with a value for each `{}` in it. The text without its values is the key of its translation."""

    template: str
    gaps: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return self.template.format(*self.gaps)


def say(template: str, *gaps: Any) -> Text:
    """Return a text. The template stands as a literal at the call: a test compares these with the translations."""
    return Text(template, gaps)


@dataclass(frozen=True)
class Finding:
    """One line of the report. `remedy` is None where nothing is to be done."""

    level: Level
    seen: Text
    remedy: Text | None = None


def ok(seen: Text) -> Finding:
    """Return the finding that all is well."""
    return Finding(Level.OK, seen)


def warn(seen: Text, remedy: Text | None = None) -> Finding:
    """Return the finding of something that works now."""
    return Finding(Level.WARN, seen, remedy)


def fail(seen: Text, remedy: Text | None = None) -> Finding:
    """Return the finding of something that does not work."""
    return Finding(Level.FAIL, seen, remedy)
