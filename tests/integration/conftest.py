"""Password hashes of the tests' own process cost little: no test of this suite depends on their strength.

`tests/unit/core/test_passwords.py` has the parameters of the service. The processes that tests start use them.
"""

from collections.abc import Iterator

import pytest

from tests.support.light_hashes import light_hashes
from tests.unit.outbound.web_server import Web, reply, web_server


@pytest.fixture(scope="package", autouse=True)
def _light_hashes() -> Iterator[None]:
    with light_hashes():
        yield


@pytest.fixture
def web() -> Iterator[Web]:
    """A receiver of webhooks, which answers 204."""
    with web_server() as started:
        started.answer["/"] = reply(204)
        yield started
