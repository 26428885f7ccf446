"""Time, as far as the throttles know it: what the table of logins says, and what the application remembers."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from app.services import audit
from app.services.accounts import login_throttle
from app.services.audit import DeedLimits
from tests.support.bounds import bounded
from tests.support.settings import sql

# For a module whose tests together do more than one user may.
UNBOUNDED_DEEDS = bounded({audit: {"DEEDS_PER_MINUTE": 10**9, "DEEDS_PER_DAY": 10**9}})


def forget_everybody(client: TestClient, *tables: str) -> None:
    """As on a new database: no users, and nothing counted. Nor rows of the other tables that are named."""
    for table in ("login_failures", "login_blocks", "users", *tables):
        sql(f"DELETE FROM {table}")
    client.app_state["refusals"].clear()


def forget_deeds(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float] = time.monotonic) -> None:
    """Until the test ends, let what other tests did in this process count for nobody's recorded deeds."""
    limits = DeedLimits(clock)
    monkeypatch.setattr(audit, "deed_limits", limits)


def end_waits(client: TestClient) -> None:
    """Let the waits of all throttled logins be over; what was counted stays."""
    sql("UPDATE login_failures SET blocked_until = clock_timestamp()")
    client.app_state["refusals"].clear()


def end_windows(client: TestClient, seconds: float = 901) -> None:
    """Let so much time pass for all that is counted; by default the longest wait is over then."""
    sql(
        "UPDATE login_failures SET window_started_at = window_started_at - make_interval(secs => :seconds)",
        seconds=seconds,
    )
    client.app_state["refusals"].clear()


def prolong_waits() -> None:
    """Let the waits of all throttled logins last for another hour, whatever time a test takes."""
    sql("UPDATE login_failures SET blocked_until = blocked_until + interval '1 hour'")


def lengthen_first_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first wait of whatever is throttled outlast the requests of a test, in this process."""
    monkeypatch.setattr(login_throttle, "FIRST_WAIT", timedelta(minutes=10))
