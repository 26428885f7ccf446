"""The list of tiers names every test file, and nothing else."""

import json
from pathlib import Path

import pytest

from tests import tiers
from tests.mutants.mutants import read_mutants
from tests.report import durations
from tests.report.options import OF_PYTEST
from tests.support.sources import is_there, text_of
from tests.tiers import PARTS, STATEMENTS, TIERS, Tier, tier_of

TESTS = Path(__file__).parents[1]
FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))
MOST_FLAKY = 2
# Of a default run that concerns neither schema nor other engines, by the kept durations. What needs more takes it from something else.
BUDGET_SECONDS = 2700
MOST_SECONDS = 5.0
# What reads all sources or asks all routes, and what a user does from the start on: they take the time of these.
LONG = (
    "tests/e2e/", "tests/integration/client/", "tests/integration/test_doctor.py::TestAnInstallation::test_that_works",
    "tests/integration/test_forking.py", "tests/integration/test_running.py::TestTheOwnersExample", "tests/integration/pages/test_records.py", "tests/integration/test_route_matrix.py",
    "tests/unit/client/test_requests.py", "tests/unit/core/test_languages.py", "tests/unit/test_architecture.py",
    "tests/unit/test_documents.py", "tests/unit/test_house.py", "tests/unit/test_portable_sql.py",
)  # fmt: skip


def test_every_file_has_a_tier() -> None:
    assert [file for file in FILES if tiers.entry_of(file) is None] == []


def test_every_entry_is_there() -> None:
    listed = [entry for entries in TIERS.values() for entry in entries]
    assert len(listed) == len({*listed})
    entries = [*listed, *STATEMENTS, *tiers.CORE, *tiers.SCHEMA, *tiers.ON_POSTGRESQL, *tiers.NOT_OF_ENGINES]
    entries += tiers.FAULTS_OF_ENGINES
    assert [entry for entry in entries if not is_there(entry)] == []
    assert {entry.split("/")[0] for entry in entries} <= {*OF_PYTEST}, "no suite has the others"


def test_statements_are_of_every_engine() -> None:
    assert {*STATEMENTS}.isdisjoint(tiers.NOT_OF_ENGINES)
    assert {*tiers.CORE, *tiers.SCHEMA} <= {*STATEMENTS}


def test_a_change_of_neither_schema_nor_engines_needs_the_core_alone() -> None:
    core, other = tiers.CORE[0], "integration/test_random_updates.py"
    assert [tiers.runs_on("sqlite", Tier.DEFAULT, file, core=True) for file in (core, other)] == [True, False]
    assert tiers.runs_on("sqlite", Tier.DEFAULT, other)
    assert tiers.runs_on("postgresql", Tier.DEFAULT, other, core=True)
    assert not tiers.runs_on("postgresql", Tier.DEFAULT, tiers.SCHEMA[0], core=True)


def test_the_longest_entry_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"e2e/": Tier.FULL, "e2e/test_x.py": Tier.DEFAULT, "e2e/test_x.py::TestY": Tier.FULL}
    monkeypatch.setattr(tiers, "_ENTRIES", listed)
    assert tiers.tier_of("e2e/test_z.py::test_a") is Tier.FULL
    assert tiers.tier_of("e2e/test_x.py::test_a[b]") is Tier.DEFAULT
    assert tiers.tier_of("e2e/test_x.py::TestY::test_a") is Tier.FULL
    assert tiers.tier_of("e2e/test_x.py::TestYes::test_a") is Tier.DEFAULT
    assert tiers.may_have_tests_of(Tier.DEFAULT, "e2e/test_x.py")
    assert not tiers.may_have_tests_of(Tier.DEFAULT, "e2e/test_z.py")


def test_a_file_is_read_for_one_test_of_the_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"e2e/": Tier.FULL, "e2e/test_x.py::TestY": Tier.DEFAULT}
    monkeypatch.setattr(tiers, "_ENTRIES", listed)
    assert tiers.may_have_tests_of(Tier.DEFAULT, "e2e/test_x.py")
    assert tiers.tier_of("e2e/test_x.py::test_a") is Tier.FULL


def test_what_takes_long_on_other_engines_waits_for_the_full_tier() -> None:
    long = tiers.ON_POSTGRESQL[0]
    assert tiers.tier_of(long) is Tier.DEFAULT
    assert tiers.tier_of(long, engine="sqlite") is Tier.FULL
    assert all(tiers.runs_on("sqlite", Tier.DEFAULT, entry.partition("::")[0]) for entry in tiers.ON_POSTGRESQL)


def test_faults_that_every_engine_stands_are_of_each_run() -> None:
    assert tiers.tier_of("faults/test_fence.py::test_a", every_engine=True) is Tier.DEFAULT


def test_an_engine_has_no_test_that_tells_of_processes_alone() -> None:
    one = "integration/test_queues.py::TestOnWorkers::test_a"
    assert [tiers.is_of_engine(engine, one, every_engine=False) for engine in ("sqlite", "postgresql")] == [False, True]
    assert tiers.is_of_engine("sqlite", "integration/test_queues.py::TestARace::test_a", every_engine=False)


def test_an_engine_has_the_faults_that_depend_on_it() -> None:
    own, other = tiers.FAULTS_OF_ENGINES[0], "faults/test_fence.py"
    assert [tiers.is_of_engine("mysql", f"{file}::test_a", every_engine=False) for file in (own, other)] == [
        True,
        False,
    ]
    assert tiers.is_of_engine("mysql", f"{other}::test_a", every_engine=True)
    assert tiers.is_of_engine("postgresql", f"{other}::test_a", every_engine=False)


def test_the_parts_of_the_full_tier_have_every_suite_once() -> None:
    from tests.report.options import SUITES

    one_of_two = {name: suites for name, suites in PARTS.items() if name != "length"}
    assert sorted(suite for suites in one_of_two.values() for suite in suites) == sorted(SUITES)
    assert PARTS["length"] == PARTS["postgresql"]


def test_every_file_of_the_default_tier_has_a_duration() -> None:
    """Else it is not in the budget. `run_tests.py -k test_x` measures a new one, and `tests.report.durations` keeps it."""
    known = {file.removeprefix("tests/") for files in durations.read().values() for file in files}
    listed = [file for file in FILES if any(tier_of(each) is not Tier.FULL for each in (file, *entries_within(file)))]
    assert [file for file in listed if file not in known] == []


def entries_within(file: str) -> list[str]:
    return [entry for entries in TIERS.values() for entry in entries if entry.startswith(f"{file}::")]


def test_the_default_tier_keeps_its_budget() -> None:
    """By the kept durations alone, never by a run's own: what takes longer on a busy machine breaks no rule."""
    assert sum(durations.of_default_tier(durations.read()).values()) <= BUDGET_SECONDS


def test_a_test_of_the_default_tier_is_quick_unless_a_mutant_needs_it() -> None:
    """Or it is a fault that each run has, or one of LONG. Fewer examples by day (`amount`), or the full tier."""
    named = {test for mutant in read_mutants() for test in mutant.tests}
    needed = tuple(f"{test}{end}" for test in named for end in ("[", "::"))
    assert {
        nodeid: seconds
        for (section, nodeid), seconds in durations.of_default_tier(durations.read()).items()
        if "::" in nodeid and seconds > MOST_SECONDS
        if not (
            nodeid in named or nodeid.startswith(needed) or nodeid.startswith(LONG) or section.endswith("every_engine")
        )
    } == {}


def test_no_test_was_flaky_in_three_runs() -> None:
    """It is mended, or moved, and goes from the file."""
    runs = json.loads(text_of(durations.FLAKY))
    assert {test: when for test, when in runs.items() if len(when) > MOST_FLAKY} == {}
