"""What all suites share: isolation from the developer's settings, `--full`, and the fixtures of `tests/support/fixtures.py`."""

import warnings
from pathlib import Path

import pytest

import tests.support.properties  # noqa: F401 (loads Hypothesis's profile)
from tests.support.databases import ENGINE
from tests.support.faults.every_engine import check_row
from tests.support.settings import forget_the_developers_settings

with warnings.catch_warnings():
    # It asks for httpx2, which the requirements that were tried together do not have; once imported it is silent.
    warnings.simplefilter("ignore")
    import starlette.testclient  # noqa: F401

FAULTS = Path(__file__).parent / "faults"
LOAD = Path(__file__).parent / "load"
# The modules of Stack and Running, by name: they import what `forget_the_developers_settings` decides.
STARTERS = {"tests.support.stack", "tests.support.running"}

forget_the_developers_settings()  # before the plugins: they import what the engine decides
pytest_plugins = ["tests.support.fixtures", "app.testing", "pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long tests as well (marked `full`)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: takes minutes; runs only with --full")
    config.addinivalue_line("markers", "long: files that start first, so that no process is left with one at the end")
    config.addinivalue_line(
        "markers", "every_engine(row): a fault that every engine stands; see tests/support/faults/every_engine.py"
    )
    config.addinivalue_line("markers", "faults: all of tests/faults")
    config.addinivalue_line("markers", "costly: a file that takes more than ten seconds")
    config.addinivalue_line("markers", "mysql: files that run on MySQL in each test run")
    config.addinivalue_line("markers", "processes: starts API, workers or beat; set by itself")
    config.addinivalue_line("markers", "postgresql(why): of PostgreSQL alone; skipped on the other engines")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    for item in items:
        if FAULTS in item.path.parents:
            item.add_marker("faults")
        if LOAD in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))  # a duel measures for more than a minute, and then ends its round
        if _starts_processes(item):
            item.add_marker("processes")
        for marker in item.iter_markers("every_engine"):
            check_row(marker)
        only = item.get_closest_marker("postgresql")
        if only is not None and ENGINE != "postgresql":
            item.add_marker(pytest.mark.skip(reason=f"of PostgreSQL alone: {only.args[0]}"))
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason="long: runs with --full"))


def _starts_processes(item: pytest.Item) -> bool:
    used = {value.__module__ for value in vars(item.module).values() if isinstance(value, type)}
    return bool({"stack", "start", "running"} & {*item.fixturenames} or STARTERS & used)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Of tests that are coroutines, marked `anyio`."""
    return "asyncio"
