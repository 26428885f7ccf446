"""The report of the checks: lines of text in English or Chinese, or JSON."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from app.core.languages import CHINESE, DEFAULT, in_chinese
from app.doctor.findings import Finding, Level, Text
from app.doctor.running import Result

WIDTH = 20
# What a terminal would obey: C0, C1, and what turns the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Those of them that JSON may hold as they are.
_UNESCAPED = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# SGR codes of ECMA-48: green, yellow, bold red.
COLOURS = {Level.OK: "32", Level.WARN: "33", Level.FAIL: "1;31"}


def language_of(environment: Mapping[str, str]) -> str:
    """Return CHINESE where the locale's messages are Chinese (POSIX: LC_ALL, LC_MESSAGES, LANG), else DEFAULT."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((environment[name] for name in names if environment.get(name)), "")
    return CHINESE if locale.lower().startswith(CHINESE) else DEFAULT


def lines(results: Iterable[Result], language: str, *, colours: bool) -> Iterator[str]:
    """Yield a line for each finding: its level, the check, what is seen, what to do."""
    for name, findings in results:
        for finding in findings:
            level = f"{finding.level:<4}"
            shown = f"\x1b[{COLOURS[finding.level]}m{level}\x1b[0m" if colours else level
            parts = [_padded(translated(name, language)), *_texts(finding, language)]
            yield "  ".join([shown, *(_CONTROL.sub(" ", part) for part in parts)])


def as_json(results: Iterable[Result], language: str) -> str:
    """Return a list of objects. `check` and `level` are the same in each language."""
    found = [
        {
            "level": finding.level.value,
            "check": str(name),
            "seen": translated(finding.seen, language),
            "remedy": None if finding.remedy is None else translated(finding.remedy, language),
        }
        for name, findings in results
        for finding in findings
    ]
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(found, ensure_ascii=False, indent=2))


def translated(text: Text, language: str) -> str:
    """Return the text in this language. What other modules say, in its gaps, is translated where it is known."""
    if language != CHINESE:
        return str(text)
    gaps = [translated(gap, language) if isinstance(gap, Text) else _gap(gap) for gap in text.gaps]
    return texts().get(text.template, text.template).format(*gaps)


@cache
def texts() -> dict[str, str]:
    """Return the Chinese of the templates, by the English ones."""
    loaded: dict[str, str] = json.loads((files("app.doctor") / "translations" / "zh.json").read_text(encoding="utf-8"))
    return loaded


def _gap(value: Any) -> Any:
    return (texts().get(value) or in_chinese(value)) if isinstance(value, str) else value


def _texts(finding: Finding, language: str) -> Iterator[str]:
    yield translated(finding.seen, language)
    if finding.remedy is not None:
        yield translated(finding.remedy, language)


def _padded(name: str) -> str:
    """Return the name filled up to WIDTH columns of a terminal: a wide character takes two."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in name)
    return name + " " * (WIDTH - len(name) - wide)
