"""The fixture of the load tests, on those of `tests/support/fixtures.py`."""

from collections.abc import Iterator

import pytest

from tests.load.duel import Duel
from tests.support import fork_server
from tests.support.fixtures import STARTED
from tests.support.services import Services
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def duel(
    services: Services, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Duel]:
    """Two users of an API process of a file's own. A file may name settings of that process in SETTINGS."""
    with (
        fork_server.nothing_forked(),
        Stack(services, tmp_path_factory.mktemp("duel"), **getattr(request.module, "SETTINGS", {})) as stack,
    ):
        request.node.stash.setdefault(STARTED, []).append(stack)
        yield Duel(stack)
