"""The commands as a newcomer runs them, on the session's PostgreSQL and Valkey: a start takes seconds."""

from tests.support.fixtures import (  # noqa: F401 (pytest finds them by name here)
    pytest_sessionfinish,
    pytest_testnodedown,
    services,
)
