"""Named checks, grouped by OWASP API Security Top 10 (2023) category."""

import time
from collections.abc import Callable, Container, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from tests.security.target import Target

OBJECTS = "API1:2023 Broken object level authorization"
AUTHENTICATION = "API2:2023 Broken authentication"
PROPERTIES = "API3:2023 Broken object property level authorization"
RESOURCES = "API4:2023 Unrestricted resource consumption"
FUNCTIONS = "API5:2023 Broken function level authorization"
OUTBOUND = "API7:2023 Server side request forgery"
MISCONFIGURATION = "API8:2023 Security misconfiguration"
INJECTION = "Injection and cross-site scripting (Top 10:2025 A05)"
FORGERY = "Cross-site request forgery and CORS (API8:2023)"

# Statuses: a refusal, and whatever is no error of the server.
REFUSED = range(400, 500)
HANDLED = range(500)


class CheckFailed(Exception):
    """The behaviour is weak; the message says what was seen."""


@dataclass(frozen=True)
class Check:
    key: str
    group: str
    name: str
    run: Callable[[Target], None]


@dataclass(frozen=True)
class Result:
    group: str
    key: str
    name: str
    outcome: str
    detail: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


CHECKS: list[Check] = []


def check(group: str) -> Callable[[Callable[[Target], None]], Callable[[Target], None]]:
    """Register a function under its docstring, which says what must hold."""

    def register(function: Callable[[Target], None]) -> Callable[[Target], None]:
        assert function.__doc__, f"{function.__name__} needs a sentence"
        CHECKS.append(Check(function.__name__, group, function.__doc__.strip().rstrip("."), function))
        return function

    return register


def expect(held: object, seen: str) -> None:
    """Raise CheckFailed with what was seen instead, unless it held."""
    if not held:
        raise CheckFailed(seen)


def expect_status(answer: httpx.Response, allowed: int | Container[int], what: str = "") -> httpx.Response:
    """The answer; raises CheckFailed with what was asked unless its status is allowed."""
    held = answer.status_code == allowed if isinstance(allowed, int) else answer.status_code in allowed
    expect(held, f"{what or f'{answer.request.method} {answer.request.url.path}'}: {answer.status_code}")
    return answer


def run_checks(target: Target) -> Iterator[Result]:
    """Groups in the order of the categories, checks as they are written."""
    for each in sorted(CHECKS, key=lambda check: list(GROUPS).index(check.group)):
        yield run_one(each, target)


GROUPS = (OBJECTS, AUTHENTICATION, PROPERTIES, FUNCTIONS, INJECTION, FORGERY, OUTBOUND, MISCONFIGURATION, RESOURCES)


def run_one(each: Check, target: Target) -> Result:
    begun = time.monotonic()
    try:
        each.run(target)
        outcome, detail = "passed", ""
    except CheckFailed as finding:
        outcome, detail = "failed", str(finding)
    except (httpx.HTTPError, OSError, ValueError, LookupError, TypeError) as error:
        # No answer, or one of another shape than the contract's: nothing was proven.
        outcome, detail = "failed", f"{type(error).__name__}: {error}"
    return Result(each.group, each.key, each.name, outcome, detail, time.monotonic() - begun)
