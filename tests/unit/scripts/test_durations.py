"""The durations of tests: what a run leaves, and what is kept of it."""

import json
from pathlib import Path

import pytest

from tests.report import durations, pytest_run, runner, sbom
from tests.report.durations import FIXTURES, UNKNOWN_SECONDS, FileDurations
from tests.report.options import read_options
from tests.report.recorded import Recorded
from tests.support.patience import VARIABLE as PATIENCE_VARIABLE

FILE = "tests/unit/scripts/test_durations.py"
HERE = "TestWhatIsKept::test_names_what_is_slow_and_adds_up_the_others"
TESTS = {FIXTURES: 1.52, HERE: 2.04, "TestRun::test_a": 0.3, "TestRun::test_b": 0.12}


def leave(path: Path, tests: dict[str, float], section: str = "unit") -> Path:
    path.write_text(json.dumps({section: {FILE: tests}}), encoding="utf-8")
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.json"
    durations.keep(leave(tmp_path / "run.json", TESTS), path)
    return path


class TestWhatIsKept:
    def test_names_what_is_slow_and_adds_up_the_others(self, kept: Path) -> None:
        assert durations.read(kept) == {"unit": {FILE: FileDurations({HERE: 2.0}, 2, 0.4, 1.5)}}

    def test_tests_of_which_nothing_is_known_count_as_long_ones(self) -> None:
        file = FileDurations({"test_slow": 3.0}, 2, 0.4)
        assert file.of_tests(["test_slow", "test_a"]) == pytest.approx(3.2)
        assert file.of_tests(["test_slow", "test_a", "test_b", "test_new"]) == pytest.approx(3.4 + UNKNOWN_SECONDS)
        assert FileDurations().of_tests(["test_a", "test_b"]) == 2 * UNKNOWN_SECONDS

    def test_a_run_of_a_few_tests_changes_those_alone(self, kept: Path, tmp_path: Path) -> None:
        durations.keep(leave(tmp_path / "run.json", {HERE: 1.0}), kept)
        assert durations.read(kept) == {"unit": {FILE: FileDurations({HERE: 1.0}, 2, 0.4, 1.5)}}

    def test_forgets_what_is_gone(self, kept: Path, tmp_path: Path) -> None:
        gone = {"TestGone::test_that_is_in_no_file_but_as_a_word": 5.0, f"{HERE}[old]": 5.0}
        durations.keep(leave(tmp_path / "run.json", gone), kept)
        durations.keep(leave(tmp_path / "run.json", TESTS), kept)
        assert durations.read(kept)["unit"][FILE].named == {HERE: 2.0}

    def test_a_test_that_gets_a_marker_stands_once(self, kept: Path, tmp_path: Path) -> None:
        durations.keep(leave(tmp_path / "run.json", {HERE: 3.0}, "unit full"), kept)
        assert durations.read(kept)["unit full"][FILE].named == {HERE: 3.0}
        assert durations.read(kept)["unit"][FILE].named == {}
        assert durations.of_default_tier(durations.read(kept)) == {("unit", FILE): pytest.approx(1.9)}

    def test_of_the_default_tier_is_what_each_run_has(self) -> None:
        faults, core, other = "tests/faults/test_fence.py", "integration/test_turns.py", "integration/test_stats.py"
        slow = FileDurations({"test_a": 2.0})
        kept = {
            "faults": {faults: slow},
            "faults every_engine": {faults: FileDurations({"test_b": 2.0})},
            "sqlite": {f"tests/{core}": slow, f"tests/{other}": slow},
            "mariadb": {f"tests/{core}": slow},
        }
        tests = {nodeid for nodeid, seconds in durations.of_default_tier(kept).items() if seconds}
        assert tests == {("faults every_engine", f"{faults}::test_b"), ("sqlite", f"tests/{core}::test_a")}


class TestRun:
    @pytest.mark.parametrize(
        ("outcome", "patience", "left"), [("passed", 1.0, True), ("failed", 1.0, False), ("passed", 1.8, False)]
    )
    def test_that_is_green_and_quiet_leaves_durations(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: str, patience: float, left: bool
    ) -> None:
        tests = [Recorded("unit", f"{FILE}::test_a"), Recorded("unit", f"{FILE}::test_b", outcome)]
        monkeypatch.setenv(PATIENCE_VARIABLE, "1")
        monkeypatch.setattr(runner, "REPORTS", tmp_path)
        monkeypatch.setattr(runner, "measure_patience", lambda: patience)
        monkeypatch.setattr(sbom, "write", lambda: None)
        monkeypatch.setattr(pytest_run, "run", lambda *_: (tests, []))
        runner._run(["unit"], read_options(["unit"]))
        assert (tmp_path / "durations.json").exists() is left

    def test_marks_what_decides_on_a_tier(self, tmp_path: Path) -> None:
        test = Recorded("faults", f"{FILE}::test_a", seconds=3.0, fixtures=2.0, marker="every_engine")
        durations.write([test], tmp_path / "durations.json")
        told = json.loads((tmp_path / "durations.json").read_text(encoding="utf-8"))
        assert told == {"faults every_engine": {FILE: {FIXTURES: 2.0, "test_a": 1.0}}}
