"""Waiting for a condition with a deadline, the only way in which a test may wait."""

import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import TypeVar

from tests.support.patience import PATIENCE

T = TypeVar("T")
POLL_SECONDS = 0.02


def waited(seconds: float) -> str:
    """How the failure of a `wait_for` of so many seconds begins."""
    return f"waited {seconds * PATIENCE:g} s"


def wait_for(condition: Callable[[], T], seconds: float = 10, what: str = "the condition") -> T:
    """The first true value of `condition()`; after `seconds`, an AssertionError that tells the last value seen.

    A slow machine is given more time: `tests/support/patience.py`.
    What `condition` raises goes through: a condition that must survive an outage catches what it expects.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{waited(seconds)} for {what}; last seen: {value!r}")
        time.sleep(POLL_SECONDS)


def answers(url: str, path: str, seconds: float = 2) -> bool:
    """Whether the server at `http://host:port` answers a GET of this path with 200, within so many seconds.

    Not by `httpx.get`, which reads the system's certificates each time: half of a core, while the server starts.
    """
    connection = HTTPConnection(url.removeprefix("http://"), timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
