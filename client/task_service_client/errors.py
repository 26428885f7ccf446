"""What the client raises.

TaskServiceError
├── Unreachable      no answer, however often it was tried
├── ApiError         the server has refused a request: `status`, `code`, `detail`
│   └── NotSignedIn  no credentials, or the server takes them no longer (401)
├── Unexpected       an answer with success that this service does not give: another server answers
├── BadProfile       a profile cannot be read
└── Damaged          a content is another one than the server's digest says
"""

from collections.abc import Mapping
from typing import Any


class TaskServiceError(Exception):
    """Base of what the client raises; a timeout of `wait` is a `TimeoutError`."""


class Unreachable(TaskServiceError):
    """The server did not answer."""


class Unexpected(TaskServiceError):
    """An answer with success that this service does not give; `reason` says what is wrong with it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"what answers is not the task service: {reason}")


class BadProfile(TaskServiceError):
    """A profile cannot be read."""


class Damaged(TaskServiceError):
    """The bytes that came have another SHA-256 than the file."""


class ApiError(TaskServiceError):
    """An answer with a problem (RFC 9457). Branch on `code`: docs/http-api.md lists them.

    `is_of_service` is false for the answer of a proxy, or of another server.
    `errors` are the faults of single fields, each with `loc`, `msg` and `type`. `retry_after` is in seconds, None where
    waiting does not help.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None) -> None:
        self.status, self.retry_after = status, retry_after
        self.is_of_service = "code" in problem
        self.code = str(problem.get("code", f"http_{status}"))
        self.detail = str(problem.get("detail") or problem.get("title") or "the server gave no reason")
        self.errors = _faults(problem.get("errors"))
        super().__init__("; ".join([f"{self.code}: {self.detail}", *map(of_field, self.errors)]))


class NotSignedIn(ApiError):
    """401: log in, or send another API key."""


def _faults(errors: Any) -> list[dict[str, Any]]:
    """Return those that are objects, each with a list as its place: another server may send anything."""
    found = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    return [each if isinstance(each.get("loc"), list) else {**each, "loc": []} for each in found]


def of_field(error: Mapping[str, Any]) -> str:
    """Return one of the faults of an ApiError in a line: where it is, and what it is."""
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{place}: {error.get('msg', '')}"
