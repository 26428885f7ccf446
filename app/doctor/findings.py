"""What checks find, how they are run, and the report: lines of text in English or Chinese, or JSON.

Checks run one after another, each with a deadline. None of them ends the others.
"""

import json
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.core.languages import CHINESE, DEFAULT, in_chinese
from app.core.redacted_text import redact_text
from app.db.outage import first_line
from app.errors import ServiceError


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


# -- The difference of two clocks. The service compares times of the database alone; tokens and commands have others ---

WARN_SECONDS = 2.0
# A signed command of Celery's remote control is refused after so long (docs/servers.md).
FAIL_SECONDS = 60.0


def compare_clocks(
    ask: Callable[[], datetime], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Finding]:
    """Yield by how much the clock that `ask` reads is ahead of this machine's, as far as a round trip tells it."""
    before = now()
    theirs = ask()
    after = now()
    ahead = (theirs - (before + (after - before) / 2)).total_seconds()
    certain = max(0.0, abs(ahead) - (after - before).total_seconds() / 2)
    seen = say("{} s ahead of this machine", f"{round(ahead, 2) + 0.0:+.2f}")  # -0.0 + 0.0 is 0.0
    remedy = say("synchronise the clocks of all machines (chrony, systemd-timesyncd)")
    if certain > FAIL_SECONDS:
        yield fail(seen, remedy)
    elif certain > WARN_SECONDS:
        yield warn(seen, remedy)
    else:
        yield ok(seen)


# -- Runs checks one after another, each with a deadline. None of them ends the others ---------------------------------

CHECK_SECONDS = 5.0
CHECK_THREAD = "doctor"


@dataclass(frozen=True)
class Check:
    """`run` yields what it finds, nothing if all is well. It does not run where a check that `needs` names has failed.

    `seconds` is its deadline.
    """

    name: Text
    run: Callable[[], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    seconds: float = CHECK_SECONDS


Result = tuple[Text, list[Finding]]


def run_checks(checks: Sequence[Check]) -> Iterator[Result]:
    """Run each check, and yield its name with what it finds as soon as it has ended."""
    failed: set[str] = set()
    for check in checks:
        missing = next((name for name in check.needs if name in failed), None)
        if missing is None:
            findings = run_check(check)
        else:
            findings = [warn(say("not checked, because another check failed: {}", Text(missing)))]
        if missing is not None or any(finding.level == Level.FAIL for finding in findings):
            failed.add(str(check.name))
        yield check.name, findings


def run_check(check: Check) -> list[Finding]:
    """Return what the check finds. It runs in a thread, which is left alone once the time is over."""
    answer: SimpleQueue[list[Finding]] = SimpleQueue()
    threading.Thread(target=lambda: answer.put(_findings(check)), name=CHECK_THREAD, daemon=True).start()
    try:
        return answer.get(timeout=check.seconds) or [ok(say("nothing is wrong"))]
    except Empty:
        return [
            fail(
                say("no answer within {} s", f"{check.seconds:g}"),
                say("look whether this machine reaches the server, and what the server does"),
            )
        ]


def left_running() -> bool:
    """Return whether a check goes on after its deadline: its libraries may delay the end of this process."""
    return any(thread.name == CHECK_THREAD for thread in threading.enumerate())


def _findings(check: Check) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check.run())
    except Exception as error:  # noqa: BLE001 (each driver has its own errors, and the report names all of them)
        is_told = isinstance(error, ServiceError | SQLAlchemyError)
        found.append(fail(say("{}", told(error)) if is_told else say("{}: {}", type(error).__name__, told(error))))
    return found


def told(error: BaseException) -> str:
    """Return the first line of an error, without secrets."""
    return redact_text(error.detail if isinstance(error, ServiceError) else first_line(error))


# -- The report of the checks: lines of text in English or Chinese, or JSON --------------------------------------------

NAME_WIDTH = 20
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


def report_lines(results: Iterable[Result], language: str, *, colours: bool) -> Iterator[str]:
    """Yield a line for each finding: its level, the check, what is seen, what to do."""
    for name, findings in results:
        for finding in findings:
            level = f"{finding.level:<4}"
            shown = f"\x1b[{COLOURS[finding.level]}m{level}\x1b[0m" if colours else level
            parts = [_padded_name(translated(name, language)), *_texts_of(finding, language)]
            yield "  ".join([shown, *(_CONTROL.sub(" ", part) for part in parts)])


def report_as_json(results: Iterable[Result], language: str) -> str:
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
    gaps = [translated(gap, language) if isinstance(gap, Text) else _translated_gap(gap) for gap in text.gaps]
    return chinese_texts().get(text.template, text.template).format(*gaps)


@cache
def chinese_texts() -> dict[str, str]:
    """Return the Chinese of the templates, by the English ones."""
    loaded: dict[str, str] = json.loads((files("app.doctor") / "translations" / "zh.json").read_text(encoding="utf-8"))
    return loaded


def _translated_gap(value: Any) -> Any:
    return (chinese_texts().get(value) or in_chinese(value)) if isinstance(value, str) else value


def _texts_of(finding: Finding, language: str) -> Iterator[str]:
    yield translated(finding.seen, language)
    if finding.remedy is not None:
        yield translated(finding.remedy, language)


def _padded_name(name: str) -> str:
    """Return the name filled up to WIDTH columns of a terminal: a wide character takes two."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in name)
    return name + " " * (NAME_WIDTH - len(name) - wide)
