"""The service with its pages and a browser, for the tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import running_browser, why_not
from tests.support.running import LOAD_EXAMPLES
from tests.support.services import Services
from tests.support.site import Site
from tests.support.stack import Stack

# A worker that has died is noticed soon.
QUICK = {"WORKER_LEASE_SECONDS": "10"}


@pytest.fixture(scope="module")
def whole_site(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := why_not():
        pytest.skip(f"no browser here: {reason}")
    directory = tmp_path_factory.mktemp("pages")
    with running_browser() as browser, Stack(services, directory, WEB_UI="true", **LOAD_EXAMPLES, **QUICK) as stack:
        stack.server()
        stack.worker(concurrency=2)
        yield Site(browser, stack)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """No page may violate its policy, ask another host, or fail in its script: looked at after every test."""
    yield whole_site
    assert whole_site.leave() == []


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """Bodies wait until this file is there, at the latest when the test ends."""
    found = tmp_path / "gate"
    yield found
    found.touch()
