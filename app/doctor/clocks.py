"""The difference of two clocks. The service compares times of the database alone; tokens and commands have others."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from app.doctor.findings import Finding, fail, ok, say, warn

WARN_SECONDS = 2.0
# A signed command of Celery's remote control is refused after so long (docs/brokers.md).
FAIL_SECONDS = 60.0


def compare(ask: Callable[[], datetime], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Iterator[Finding]:
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
