"""Runs checks, and reports their findings: as lines of text in English or Chinese, or as JSON.

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
from queue import Empty, SimpleQueue

from sqlalchemy.exc import SQLAlchemyError

from app.core.agreement import seconds_ahead
from app.core.languages import CHINESE, DEFAULT, texts_of, translated
from app.core.redacted_text import redact_text
from app.db.outage import first_line
from app.errors import ServiceError, Text


class Level(StrEnum):
    """`FAIL`: the service, or a part of it, does not work. `warn`: it works, and something may go wrong later."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


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
    ahead, off = seconds_ahead(ask, now)
    yield of_clock(Text("{} s ahead of this machine", signed(ahead)), max(0.0, abs(ahead) - off))


def signed(seconds: float) -> str:
    """Return seconds with their sign."""
    return f"{round(seconds, 2) + 0.0:+.2f}"  # -0.0 + 0.0 is 0.0


def of_clock(seen: Text, seconds: float) -> Finding:
    """Return the finding of a clock that differs by so many seconds at least."""
    remedy = Text("synchronise the clocks of all machines (chrony, systemd-timesyncd)")
    if seconds > FAIL_SECONDS:
        return fail(seen, remedy)
    return warn(seen, remedy) if seconds > WARN_SECONDS else ok(seen)


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
            findings = [warn(Text("not checked, because another check failed: {}", missing))]
        if missing is not None or any(finding.level == Level.FAIL for finding in findings):
            failed.add(str(check.name))
        yield check.name, findings


def run_check(check: Check) -> list[Finding]:
    """Return what the check finds. It runs in a thread, which is left alone once the time is over."""
    answer: SimpleQueue[list[Finding]] = SimpleQueue()
    threading.Thread(target=lambda: answer.put(_findings(check)), name=CHECK_THREAD, daemon=True).start()
    try:
        return answer.get(timeout=check.seconds) or [ok(Text("nothing is wrong"))]
    except Empty:
        return [
            fail(
                Text("no answer within {} s", f"{check.seconds:g}"),
                Text("look whether this machine reaches the server, and what the server does"),
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
        found.append(fail(Text("{}", told(error)) if is_told else Text("{}: {}", type(error).__name__, told(error))))
    return found


def told(error: BaseException) -> str:
    """Return the first line of an error, without secrets."""
    line = error.detail if isinstance(error, ServiceError) else first_line(error)
    redacted = redact_text(line)
    return line if redacted == line else redacted  # a text that hides nothing can be translated


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
            parts = [_padded_name(said(name, language)), *_texts_of(finding, language)]
            yield "  ".join([shown, *(_CONTROL.sub(" ", part) for part in parts)])


def report_as_json(results: Iterable[Result], language: str) -> str:
    """Return a list of objects. `check` and `level` are the same in each language."""
    found = [
        {
            "level": finding.level.value,
            "check": str(name),
            "seen": said(finding.seen, language),
            "remedy": None if finding.remedy is None else said(finding.remedy, language),
        }
        for name, findings in results
        for finding in findings
    ]
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(found, ensure_ascii=False, indent=2))


def said(text: str, language: str) -> str:
    """Return the text in this language. What other modules say, in its gaps, is translated where it is known."""
    return translated(text, texts_of("app.core", language) | texts_of("app.doctor", language))


def _texts_of(finding: Finding, language: str) -> Iterator[str]:
    yield said(finding.seen, language)
    if finding.remedy is not None:
        yield said(finding.remedy, language)


def _padded_name(name: str) -> str:
    """Return the name filled up to WIDTH columns of a terminal: a wide character takes two."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in name)
    return name + " " * (NAME_WIDTH - len(name) - wide)
