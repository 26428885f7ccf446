"""The SQL of each area is what its file in `golden/` says, and every function of `app/db/postgresql/` and `app/db/every_engine/` does.

A change of a statement is a change of its file: `python -m tests.support.golden_sql --write` writes it anew.
"""

import pytest

from tests.support.golden_room import Reached, functions
from tests.support.golden_scenarios import SCENARIOS
from tests.support.golden_sql import FOLDER, Captured, compare, files_of
from tests.support.services import Services

# Of the scenarios together, on a machine whose cores others want as well.
pytestmark = [pytest.mark.timeout(400), pytest.mark.postgresql("its SQL")]
# Functions of the room that take no part in any statement here, and why.
UNREACHED: dict[str, str] = {}


@pytest.fixture(scope="module")
def captured(services: Services) -> dict[str, Captured]:
    """What each scenario sends. They know nothing of each other: each has a database of its own."""
    return {name: scenario.captured(services) for name, scenario in SCENARIOS.items()}


def test_the_sql_is_what_the_files_say(captured: dict[str, Captured]) -> None:
    compare(FOLDER, files_of(captured))


def test_every_function_of_the_room_takes_part(captured: dict[str, Captured]) -> None:
    reached = Reached()
    for each in captured.values():
        reached.add(each.reached)
    assert set(UNREACHED) <= set(functions())
    assert set(reached.missing()) == set(UNREACHED)
