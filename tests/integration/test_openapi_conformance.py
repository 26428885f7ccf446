"""The service does what its OpenAPI document says: schemathesis calls every operation in it, new ones by themselves.

Each answer's status, content type, headers and body must be declared, none may be a 5xx, what breaks the schema must be refused,
what needs a token must not answer without one, and a method that is not declared must be refused. NUL is among the characters.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.conformance.run import SETTINGS, Findings, explore
from tests.support.services import Services
from tests.support.stack import Stack

SEED = 20261124
EXAMPLES = 3  # a phase and operation; the systematic ones of the coverage phase, about a thousand, come on top
SECONDS = 600  # seen: 233 where five others kept the two cores busy


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(services, tmp_path_factory.mktemp("conformance"), **SETTINGS) as stack:
        stack.server()
        stack.worker()  # tasks that are created run: later calls meet them in every state
        yield stack


def conforming(stack: Stack, role: str, **bounds: Any) -> Findings:
    found = explore(stack, role, **bounds)
    print(found.output)  # noqa: T201 (pytest shows it when the test fails)
    assert found.code == 0, f"schemathesis found something, see its output (seed {bounds['seed']}) and the server's log"
    assert found.report["complete"]
    operations = found.report["operations"]
    assert operations["tested"] == operations["total"] > 20, operations
    return found


@pytest.mark.timeout(SECONDS + 60)
class TestConformance:
    def test_as_an_administrator(self, running: Stack) -> None:
        found = conforming(running, "admin", seed=SEED, examples=EXAMPLES, seconds=SECONDS)
        # A route that refuses all that is made up here was not tested: `tests/support/conformance/hooks.py` can help it.
        assert len(found.report["valid_rates"]) == found.report["operations"]["total"]
        assert found.never_reached == set()

    @pytest.mark.full
    def test_as_a_user(self, running: Stack) -> None:
        """The random phases would find nothing here that they do not find there. Roles: `test_route_matrix.py`."""
        conforming(running, "user", seed=SEED, examples=EXAMPLES, seconds=SECONDS, phases="examples,coverage")


@pytest.mark.full
@pytest.mark.timeout(900)
def test_at_length_with_another_seed_each_time(running: Stack) -> None:
    conforming(running, "admin", seed=int(time.time()), examples=10, seconds=SECONDS)
