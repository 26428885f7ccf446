"""The mutants are breaks of the code as it stands, spread over it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests import tiers
from tests.mutants import __main__ as runner
from tests.mutants.__main__ import Sessions
from tests.mutants.mutants import read_mutants
from tests.report.recorded import Recorded
from tests.support.sources import is_there
from tests.tiers import Tier

MUTANTS = read_mutants()
FEWEST = 80
PACKAGES = {
    "app/api", "app/beat", "app/core", "app/db", "app/doctor", "app/launcher", "app/live", "app/maintenance", "app/mcp",
    "app/messaging", "app/migrations", "app/models", "app/outbound", "app/schemas", "app/services", "app/tasks", "app/web",
    "app/worker", "client/task_service_client",
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


ONE = "tests/conftest.py::one"


class Told(Sessions):
    """Sessions whose tests come to what is told: `(name, failed)` of each, in this order."""

    def __init__(self, *told: tuple[str, list[Recorded] | None]) -> None:
        super().__init__()
        self._told = iter(told)

    def _output(self, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> str | None:
        said, tests = next(self._told)
        if said == "stop":
            self.stop()
            return super()._output(command, folder, variables)
        if tests is not None:
            (folder / "results.json").write_text(json.dumps([vars(test) for test in tests]), encoding="utf-8")
        return said or None


SEES, SEES_NOT = Recorded("unit", "tests/unit/test_x.py::test_y", "failed", text="assert"), Recorded("unit", ONE)
PASSES, SKIPPED = replace(SEES, outcome="passed"), replace(SEES, outcome="skipped")
NOT_RUN = Recorded("unit", "tests/unit/test_x.py::test_z", "failed", not_run=True)


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ([("failed", [SEES, NOT_RUN]), ("passed", [PASSES]), ("failed", [SEES])], True),
        ([("failed", [SEES]), ("passed", [PASSES]), ("passed", [PASSES])] * 2, False),  # now and then
        ([("failed", [SEES]), ("skipped", [SKIPPED])] * 2, False),
        ([("failed", [SEES]), ("not found", [])] * 2, False),
        ([("passed", [SEES_NOT])] * 2, False),
        ([("stopped before it", [NOT_RUN])] * 2, False),
        ([("failed", [SEES])] * 4, False),  # without the break too
        ([("+ Timeout +", None), ("passed", [SEES_NOT]), ("+ Timeout +", None)], True),
        ([("", None)] * 2, False),  # it took too long
        ([("no such option", None)] * 2, False),
    ],
)
def test_a_mutant_is_seen_by_a_test_that_fails_with_the_break_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: list[tuple[str, list[Recorded] | None]], seen: bool
) -> None:
    monkeypatch.setattr(runner, "_copy", lambda _: nullcontext(tmp_path))
    mutant = replace(MUTANTS[0], tests=(ONE, "tests/conftest.py::two"))
    result = runner._run(mutant, Told(*told))
    assert bool(result.seen_by) is seen
    assert result.tried == (1 if seen else 2)


def test_what_is_stopped_has_no_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "mutants.json")
    monkeypatch.setattr(runner, "Sessions", lambda: Told(("stop", None)))
    monkeypatch.setattr(runner, "_copy", lambda _: nullcontext(tmp_path))
    results: dict[str, runner.Result] = {}
    with pytest.raises(runner.Stopped):
        runner._run_all(MUTANTS[:1], results, 1)
    assert not results
    assert not (tmp_path / "mutants.json").exists()
