"""The mutants are breaks of the code as it stands, spread over it."""

from collections import Counter

from tests.mutants.mutants import ROOT, read_mutants

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


def test_those_that_coverage_cannot_map_name_their_tests() -> None:
    assert [mutant.name for mutant in MUTANTS if mutant.where and not mutant.tests] == []
    files = {test.partition("::")[0] for mutant in MUTANTS for test in mutant.tests}
    assert [file for file in files if not (ROOT / file).exists()] == []
