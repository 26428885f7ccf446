"""The report and the runner behind `run_tests.py`: nothing red may look green."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal
from tests.report import coverage_data, page, pytest_suites, runner, scripts
from tests.report.model import ROOT, Case, Run, SuiteResult
from tests.support import databases

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_x.TestY" name="test_good" time="0.5"/>
<testcase classname="tests.unit.test_x" name="test_bad" time="0.1"><failure message="m">assert 1 == 2</failure></testcase>
<testcase classname="tests.unit.test_x" name="test_left_out" time="0"><skipped message="why">at line 1</skipped></testcase>
<testcase classname="tests.unit.test_x" name="test_dirty" time="0.2"/>
<testcase classname="tests.unit.test_x" name="test_dirty" time="0.2"><error message="m">teardown</error></testcase>
</testsuite></testsuites>"""


def case(outcome: str, name: str = "test_x", text: str = "") -> Case:
    return Case("unit", "test_x", name, outcome, 0.5, text)  # type: ignore[arg-type]


def test_each_test_of_a_junit_file_is_one_case(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(JUNIT)
    cases = {each.name: (each.outcome, each.text) for each in pytest_suites.read_junit("unit", tmp_path / "unit.xml")}
    assert cases.pop("test_dirty")[0] == "failed"
    assert cases == {
        "test_good": ("passed", ""), "test_bad": ("failed", "assert 1 == 2"), "test_left_out": ("skipped", "why"),
    }  # fmt: skip


@pytest.mark.parametrize(("code", "state"), [(0, "passed"), (1, "failed"), (3, "failed"), (5, "absent")])
def test_pytests_exit_code_counts_when_no_test_failed(tmp_path: Path, code: int, state: str) -> None:
    xml = tmp_path / "unit.xml"
    if code < 3:
        xml.write_text('<testsuites><testcase classname="x" name="y" time="0"/></testsuites>')
    assert pytest_suites._result("unit", xml, code).state == state


class TestTheOtherEngines:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
        """The commands that would run, with what is added to the environment of each."""
        found: list[tuple[Sequence[str], Mapping[str, str]]] = []
        monkeypatch.setattr(pytest_suites, "run_child", lambda *started: found.append(started) or 5)
        return found

    @pytest.mark.parametrize("full", [False, True])
    @pytest.mark.parametrize("engine", pytest_suites.ENGINES)
    def test_run_the_integration_tests_and_faults(
        self, started: list[tuple[Sequence[str], Mapping[str, str]]], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, engine: str, full: bool,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(pytest_suites, "SERVERS", {})
        pytest_suites.run(engine, tmp_path, pytest_suites.Options(None, full, False, 1))
        ((command, variables),) = started
        assert {str(ROOT / "tests" / folder) for folder in ("integration", "faults")} <= {*command}
        assert (pytest_suites.IN_EACH_RUN[engine] in command) is not full
        assert f"--junitxml={tmp_path / engine}.xml" in command
        assert variables["TEST_DATABASE"] == engine

    def test_are_not_chosen_for_other_suites(
        self, started: list[tuple[Sequence[str], Mapping[str, str]]], tmp_path: Path
    ) -> None:
        pytest_suites.run("integration", tmp_path, pytest_suites.Options(None, False, False, 1))
        assert "TEST_DATABASE" not in started[0][1]

    @pytest.mark.parametrize(
        ("engine", "ci", "state", "told"),
        [
            ("mariadb", "", "skipped", "there is no mariadbd: apt-get install mariadb-server"),
            ("mariadb", "true", "failed", "there is no mariadbd: apt-get install mariadb-server"),
            ("mysql", "true", "skipped", "there is no mysqld of MySQL: `.ci/mysql build/mysql`"),
        ],
    )
    def test_where_there_is_no_server_the_report_says_so_and_a_ci_fails_that_has_debians(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, ci: str, state: str, told: str
    ) -> None:
        monkeypatch.setenv("CI", ci)
        monkeypatch.setattr(databases.shutil, "which", lambda *_, **__: None)
        result = pytest_suites.run(engine, tmp_path, pytest_suites.Options(None, False, False, 1))
        assert result.state == state
        assert told in result.cases[0].text

    def test_mysqld_as_another_name_of_mariadb_is_none_of_mysql(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def say(name: str, line: str) -> None:
            (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
            (tmp_path / name).chmod(0o755)

        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        for name in ("mysqld", "mysqldump"):
            say(name, "echo Ver 11.8.3-MariaDB")
        assert "no mysqld of MySQL" in databases.MySQL.why_absent()
        say("mysqld", "echo Ver 8.0.46")
        assert "no mysqldump of MySQL" in databases.MySQL.why_absent()
        say("mysqldump", "echo Ver 8.0.46")
        assert databases.MySQL.why_absent() == ""
        say("mysqld", "exit 127")
        assert "no mysqld of MySQL" in databases.MySQL.why_absent()

    def test_are_suites_of_their_own_with_the_names_of_the_tests(self, tmp_path: Path) -> None:
        (tmp_path / "x.xml").write_text(JUNIT.replace("tests.unit", "tests.integration"))
        cases = pytest_suites.read_junit("mariadb", tmp_path / "x.xml")
        assert {(each.suite, each.group) for each in cases} == {("mariadb", "test_x"), ("mariadb", "test_x.TestY")}

    def test_have_a_file_of_each_folder_under_one_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.xml").write_text(JUNIT.replace("tests.unit", "tests.faults"))
        cases = pytest_suites.read_junit("sqlite", tmp_path / "x.xml")
        assert {each.group for each in cases} == {"faults.test_x", "faults.test_x.TestY"}

    @pytest.mark.parametrize(
        ("arguments", "ran"),
        [
            (["mariadb"], ["mariadb"]),
            (["sqlite", "unit"], ["sqlite", "unit"]),
            (["--suite", "sqlite", "-k", "x"], ["sqlite"]),
            ([], list(runner.SUITES)),
        ],
    )
    def test_run_where_they_are_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], ran: list[str]
    ) -> None:
        names: list[str] = []
        monkeypatch.setattr(runner, "REPORTS", tmp_path / "reports")
        monkeypatch.setattr(runner, "_run", lambda name, _: names.append(name) or SuiteResult(name, [case("passed")]))
        assert runner.main(arguments) == 0
        assert names == ran

    def test_a_name_of_no_suite_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            runner.main(["oracle"])
        assert "oracle is none of unit, integration, mariadb, mysql, sqlite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outcomes", "code"), [(["passed", "skipped"], 0), (["passed", "failed", "skipped"], 1), (["skipped"], 1), ([], 1)]
)
def test_exit_code_and_last_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], outcomes: list[str], code: int
) -> None:
    monkeypatch.setattr(runner, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(runner, "_run", lambda *_: SuiteResult("unit", [case(outcome) for outcome in outcomes]))
    assert runner.main(["--suite", "unit"]) == code
    counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
    assert capsys.readouterr().out.splitlines()[-1] == counts
    assert (tmp_path / "reports" / "index.html").exists()


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (Findings("run", [Comparison("x", "y", Goal(at_least=5), [1.0])]), "passed"),  # a missed goal fails nothing
        (Findings("run", [Comparison("x", "y", Goal(), [9.0])], errors=["HTTP 503"]), "failed"),
    ],
)
def test_a_section_of_the_performance_suite_is_one_case(tmp_path: Path, found: Findings, outcome: str) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"endpoints": [], "sections": [found.as_json()]}), encoding="utf-8")
    assert [each.outcome for each in scripts._cases("performance", tmp_path / "p.json")] == [outcome]


def test_the_page_escapes_what_it_shows_and_loads_nothing(tmp_path: Path) -> None:
    for name in ("performance.png", "performance-goals.png", "other.png"):
        (tmp_path / name).write_bytes(b"png")
    suites = [SuiteResult("unit", [case("failed", "test_<b>", "<script>alert(1)</script>")]), SuiteResult("faults")]
    compared = Findings("run", [Comparison("<no-op>", "raw", Goal(at_least=5), [1.0])])
    figures = {
        "server": "a server", "clients": 32, "size": "quick", "machine": {"rounds": 1}, "endpoints": [],
        "sections": [compared.as_json()],
    }  # fmt: skip
    text = page.render(Run(suites, "today", 12.0, "a machine", performance=figures), tmp_path)
    assert "test_&lt;b&gt;" in text
    assert "&lt;no-op&gt;" in text
    assert "1 failed" in text
    assert text.count("<img") == 2
    for never in ("<script>", "http://", "https://"):
        assert never not in text
    assert "nothing ran" in page.render(Run([SuiteResult("faults")], "today", 1.0, "a machine"), tmp_path)


def test_coverage_is_summed_by_package() -> None:
    half = {"num_statements": 8, "covered_lines": 4, "missing_lines": 4, "num_branches": 2, "covered_branches": 1}
    full = {"num_statements": 10, "covered_lines": 10, "missing_lines": 0, "num_branches": 0, "covered_branches": 0}
    files = {"app/db/base.py": half, "app/db/session.py": full, "app/main.py": full}
    data = {"files": {name: {"summary": each} for name, each in files.items()}, "totals": {"percent_covered": 75.0}}
    rows = coverage_data.summarise(data)["packages"]
    assert [row["name"] for row in rows] == ["app/*.py", "app/db"]
    assert rows[1] == {"name": "app/db", "percent": 75.0, "statements": 18, "missing": 4}
