"""The mutants are breaks of the code as it stands, spread over it."""

from collections import Counter

from tests import tiers
from tests.mutants.mutants import read_mutants
from tests.tiers import Tier
from tests.unit.test_tiers import is_there

MUTANTS = read_mutants()
FEWEST = 80
PACKAGES = {
    "app/api", "app/beat", "app/core", "app/db", "app/launcher", "app/live", "app/maintenance", "app/messaging",
    "app/migrations", "app/models", "app/outbound", "app/schemas", "app/services", "app/tasks", "app/web", "app/worker",
}  # fmt: skip


def test_each_is_a_break_that_the_file_can_have() -> None:
    """`text` refuses what does not stand there once."""
    for mutant in MUTANTS:
        text = mutant.text()
        if mutant.file.endswith(".py"):
            compile(text, mutant.file, "exec")


def test_each_has_a_name_of_its_own_and_a_sentence() -> None:
    assert [name for name, number in Counter(mutant.name for mutant in MUTANTS).items() if number > 1] == []
    assert [mutant.name for mutant in MUTANTS if not mutant.breaks.endswith(".")] == []


def test_they_are_spread_over_every_package() -> None:
    assert len(MUTANTS) >= FEWEST
    assert {"/".join(mutant.file.split("/")[:2]) for mutant in MUTANTS} >= PACKAGES


def test_each_names_tests_that_exist_and_one_at_least_of_the_default_tier() -> None:
    assert [
        (mutant.name, test) for mutant in MUTANTS for test in mutant.tests if not is_there(test.removeprefix("tests/"))
    ] == []
    assert [
        mutant.name for mutant in MUTANTS if not any(is_in_each_run(test, mutant.engine) for test in mutant.tests)
    ] == []


def is_in_each_run(test: str, engine: str) -> bool:
    nodeid = test.removeprefix("tests/")
    runs = tiers.runs_on(engine, Tier.DEFAULT, nodeid.partition("::")[0])
    return runs and tiers.tier_of(nodeid, engine=engine).is_in(Tier.DEFAULT)
