"""The report and the runner behind `run_tests.py`: nothing red may look green."""

from pathlib import Path

import pytest

from tests.report import coverage_data, page, pytest_suites, runner
from tests.report.model import Case, Run, SuiteResult

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_x.TestY" name="test_good" time="0.5"/>
<testcase classname="tests.unit.test_x" name="test_bad" time="0.1"><failure message="m">assert 1 == 2</failure></testcase>
<testcase classname="tests.unit.test_x" name="test_left_out" time="0"><skipped message="why">at line 1</skipped></testcase>
<testcase classname="tests.unit.test_x" name="test_dirty" time="0.2"/>
<testcase classname="tests.unit.test_x" name="test_dirty" time="0.2"><error message="m">teardown</error></testcase>
</testsuite></testsuites>"""


def run_of(*suites: SuiteResult, **more: object) -> Run:
    return Run(list(suites), "2026-11-24 12:00 UTC", 12.0, "a machine", **more)  # type: ignore[arg-type]


def case(outcome: str, name: str = "test_x", text: str = "") -> Case:
    return Case("unit", "test_x", name, outcome, 0.5, text)  # type: ignore[arg-type]


class TestJunit:
    @pytest.fixture
    def cases(self, tmp_path: Path) -> dict[str, Case]:
        (tmp_path / "unit.xml").write_text(JUNIT)
        return {each.name: each for each in pytest_suites.read_junit("unit", tmp_path / "unit.xml")}

    def test_outcomes(self, cases: dict[str, Case]) -> None:
        assert cases["test_good"].outcome == "passed"
        assert (cases["test_bad"].outcome, cases["test_bad"].text) == ("failed", "assert 1 == 2")
        assert (cases["test_left_out"].outcome, cases["test_left_out"].text) == ("skipped", "why")

    def test_an_error_at_the_teardown_of_a_passed_test_is_one_failed_case(self, cases: dict[str, Case]) -> None:
        assert cases["test_dirty"].outcome == "failed"
        assert len(cases) == 4


class TestSuites:
    def test_without_tests_is_absent_not_passed(self) -> None:
        assert SuiteResult("faults").state == "absent"

    def test_a_crash_of_pytest_is_a_failure(self, tmp_path: Path) -> None:
        result = pytest_suites._result("unit", tmp_path / "none.xml", 3)
        assert result.state == "failed"

    def test_an_exit_code_without_a_failed_test_is_a_failure(self, tmp_path: Path) -> None:
        (tmp_path / "unit.xml").write_text('<testsuites><testcase classname="x" name="y" time="0"/></testsuites>')
        assert pytest_suites._result("unit", tmp_path / "unit.xml", 1).state == "failed"

    def test_nothing_collected_is_absent(self, tmp_path: Path) -> None:
        assert pytest_suites._result("unit", tmp_path / "none.xml", 5).state == "absent"


class TestExitCode:
    def run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, result: SuiteResult) -> int:
        monkeypatch.setattr(runner, "REPORTS", tmp_path / "reports")
        monkeypatch.setattr(runner, "_run", lambda name, options: result)
        return runner.main(["--suite", "unit"])

    def test_is_zero_when_all_passed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert self.run(monkeypatch, tmp_path, SuiteResult("unit", [case("passed"), case("skipped")])) == 0
        assert (tmp_path / "reports" / "index.html").exists()

    def test_is_one_when_one_failed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert self.run(monkeypatch, tmp_path, SuiteResult("unit", [case("passed"), case("failed")])) == 1

    def test_is_one_when_nothing_ran(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert self.run(monkeypatch, tmp_path, SuiteResult("unit")) == 1

    def test_the_last_line_is_the_count(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.run(monkeypatch, tmp_path, SuiteResult("unit", [case("passed"), case("failed"), case("skipped")]))
        assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed, 1 skipped"


class TestPage:
    def test_escapes_what_a_test_says(self, tmp_path: Path) -> None:
        failed = case("failed", "test_<b>", "<script>alert(1)</script>")
        text = page.render(run_of(SuiteResult("unit", [failed])), tmp_path)
        assert "<script>" not in text
        assert "test_&lt;b&gt;" in text
        assert "1 failed" in text

    def test_is_one_file_that_loads_nothing(self, tmp_path: Path) -> None:
        text = page.render(run_of(SuiteResult("unit", [case("passed")])), tmp_path)
        assert "http://" not in text
        assert "https://" not in text
        assert "all passed" in text

    def test_says_so_when_nothing_ran(self, tmp_path: Path) -> None:
        text = page.render(run_of(SuiteResult("faults", note="absent: it has no tests yet")), tmp_path)
        assert "nothing ran" in text
        assert "it has no tests yet" in text


def test_coverage_is_summed_by_package() -> None:
    half = {"num_statements": 8, "covered_lines": 4, "missing_lines": 4, "num_branches": 2, "covered_branches": 1}
    full = {"num_statements": 10, "covered_lines": 10, "missing_lines": 0, "num_branches": 0, "covered_branches": 0}
    files = {"app/db/base.py": half, "app/db/session.py": full, "app/main.py": full, "app/api/endpoints/tasks.py": half}
    data = {
        "files": {name: {"summary": summary} for name, summary in files.items()},
        "totals": {"percent_covered": 75.0},
    }
    rows = {row["name"]: row for row in coverage_data.summarise(data)["packages"]}
    assert list(rows) == ["app/*.py", "app/api", "app/db"]
    assert rows["app/db"] == {"name": "app/db", "percent": 75.0, "statements": 18, "missing": 4}
    assert rows["app/api"]["percent"] == 50.0
