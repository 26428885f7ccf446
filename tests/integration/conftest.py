"""Real PostgreSQL, real Valkey, real uvicorn and Celery processes; the fixtures are told in `tests/support/fixtures.py`."""

from tests.support.fixtures import (  # noqa: F401 (pytest finds them by name here)
    client,
    db,
    fresh_database,
    gate,
    ledger,
    make_user,
    own_services,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_testnodedown,
    rollback_database,
    services,
    stack,
    start,
    tasks,
    wait_for,
)
