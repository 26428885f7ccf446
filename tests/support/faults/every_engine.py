"""The faults that every engine has to stand: `@pytest.mark.every_engine("expiry")` marks a test of one of them.

On PostgreSQL they run in each test run, on the other engines with --full.
"""

import pytest

ROWS = (
    "kill of a pool child",
    "kill of a worker's parent",
    "kill of the API",
    "kill of the maintenance leader",
    "restart of the database",
    "double claim",
    "cancel against finish",
    "expiry",
    "retry",
    "a batch is atomic",
    "idempotency under race",
    "limits",
)


def check_row(marker: pytest.Mark) -> None:
    """Raises UsageError where it names none of them."""
    (row,) = marker.args
    if row not in ROWS:
        raise pytest.UsageError(f"every_engine: {row!r} is none of {', '.join(ROWS)}")
