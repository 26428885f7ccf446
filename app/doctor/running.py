"""Runs checks one after another, each with a deadline. None of them ends the others."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from sqlalchemy.exc import SQLAlchemyError

from app.core.redacted_text import redact_text
from app.db.outage import first_line
from app.doctor.findings import Finding, Level, Text, fail, ok, say, warn
from app.errors import ServiceError

SECONDS = 5.0
THREAD = "doctor"


@dataclass(frozen=True)
class Check:
    """`run` yields what it finds, nothing if all is well. It does not run where a check that `needs` names has failed.

    `seconds` is its deadline.
    """

    name: Text
    run: Callable[[], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    seconds: float = SECONDS


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
    threading.Thread(target=lambda: answer.put(_findings(check)), name=THREAD, daemon=True).start()
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
    return any(thread.name == THREAD for thread in threading.enumerate())


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
