"""What all suites share: isolation from the developer's settings, and the plugins of `tests/support` and `tests/report`."""

import gc
import os
import warnings
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.databases import ENGINE
from tests.support.faults.every_engine import check_row
from tests.support.patience import PATIENCE
from tests.support.settings import forget_the_developers_settings

with warnings.catch_warnings():
    # It asks for httpx2, which the requirements that were tried together do not have; once imported it is silent.
    warnings.simplefilter("ignore")
    import starlette.testclient  # noqa: F401

LOAD = Path(__file__).parent / "load"

os.environ.setdefault(fork_server.ALLOWED, "1")
forget_the_developers_settings()  # before the plugins: they import what the engine decides
pytest_plugins = [
    "tests.support.selection",
    "tests.support.shared_servers",
    "tests.support.scheduling",
    "tests.report.recorder",
    "tests.support.fixtures",
    "app.testing",
    "pytester",
]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: takes minutes; runs only with --full")
    config.addinivalue_line(
        "markers", "every_engine(row): a fault that every engine stands; see tests/support/faults/every_engine.py"
    )
    config.addinivalue_line("markers", "postgresql(why): of PostgreSQL alone; skipped on the other engines")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LOAD in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))  # a duel measures for more than a minute, and then ends its round
        if (limit := item.get_closest_marker("timeout")) is not None and PATIENCE != 1:
            item.add_marker(pytest.mark.timeout(limit.args[0] * PATIENCE), append=False)
        for marker in item.iter_markers("every_engine"):
            check_row(marker)
        only = item.get_closest_marker("postgresql")
        if only is not None and ENGINE != "postgresql":
            item.add_marker(pytest.mark.skip(reason=f"of PostgreSQL alone: {only.args[0]}"))


def pytest_collection_finish() -> None:
    """What was imported and collected stays: each collection of garbage would walk it, a tenth of a second a time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Of tests that are coroutines, marked `anyio`."""
    return "asyncio"
