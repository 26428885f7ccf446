"""Servers for the tests of outgoing requests and of mail."""

from collections.abc import Iterator

import pytest

from tests.support.tls import Authority
from tests.unit.outbound.web_server import Web, web_server


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as started:
        yield started


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))
