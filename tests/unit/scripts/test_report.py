"""The report and the runner behind `run_tests.py`: nothing red may look green."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.mutants import read_mutants
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal
from tests.report import changes, coverage_data, durations, kept_parts, page, pytest_run, runner, scripts
from tests.report.children import only_run
from tests.report.model import Case, Flaky, Run, SuiteResult
from tests.report.recorded import SESSION, Recorded
from tests.report.results import suite_results
from tests.support import databases
from tests.support.services import ROOT
from tests.support.tools import imported
from tests.tiers import PARTS, SCHEMA, Tier


def case(outcome: str, name: str = "test_x", text: str = "") -> Case:
    return Case("unit", "test_x", name, outcome, 0.5, text)


OPTIONS = pytest_run.Options(None, Tier.DEFAULT, False, 4, 2, 7, 1.0)
GOOD = Recorded("unit", "tests/unit/test_x.py::TestY::test_good[a::b]")
BAD = Recorded("integration", "tests/integration/test_x.py::test_bad", "failed", 1.0, "assert 1 == 2")
ON_SQLITE = Recorded("sqlite", "tests/integration/test_x.py::test_bad", "failed", 1.0, "locked")


class TestCases:
    def test_have_the_names_of_the_tests(self) -> None:
        (unit, integration, sqlite) = suite_results(["unit", "integration", "sqlite"], [GOOD, BAD, ON_SQLITE])
        assert [(each.group, each.name) for each in unit.cases] == [("test_x.TestY", "test_good[a::b]")]
        assert [(each.group, each.name, each.text) for each in integration.cases] == [
            ("test_x", "test_bad", "assert 1 == 2")
        ]
        assert [each.group for each in sqlite.cases] == ["integration.test_x"]

    def test_a_suite_without_tests_says_so(self) -> None:
        (found,) = suite_results(["e2e"], [])
        assert (found.state, found.note) == ("absent", "no test of this tier matches")


class Sessions:
    """Stands in for pytest: writes results as its recorder does, and keeps the commands."""

    def __init__(self, *sessions: tuple[int, list[Recorded]]) -> None:
        self._sessions = iter(sessions)
        self.commands: list[tuple[list[str], Mapping[str, str]]] = []

    def __call__(self, command: Sequence[str], variables: Mapping[str, str]) -> int:
        self.commands.append(([*command], variables))
        code, tests = next(self._sessions)
        (path,) = (part.removeprefix("--results=") for part in command if part.startswith("--results="))
        Path(path).write_text(json.dumps([vars(test) for test in tests]), encoding="utf-8")
        return code


class TestASession:
    def run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suites: list[str], *sessions: tuple[int, list[Recorded]]
    ) -> tuple[list[Recorded], list[Flaky], Sessions]:
        started = Sessions(*sessions)
        monkeypatch.setattr(pytest_run, "run_child", started)
        monkeypatch.setattr(pytest_run, "SERVERS", {})
        found, flaky = pytest_run.run(suites, tmp_path, OPTIONS)
        return found, flaky, started

    def test_serves_postgresql_by_some_processes_and_each_engine_by_one(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        *_, started = self.run(monkeypatch, tmp_path, ["unit", "integration", "sqlite"], (0, [GOOD]))
        ((command, variables),) = started.commands
        assert [command[at + 1] for at, part in enumerate(command) if part == "--tx"] == [
            "4*popen", "1*popen//env:TEST_DATABASE=sqlite",
        ]  # fmt: skip
        assert {"tests/unit", "tests/integration", "tests/faults"} <= {*command}
        assert command[command.index("--suites") + 1] == "unit,integration,sqlite"
        assert command[command.index("--tier") + 1] == "default"
        assert "--core" not in command
        assert variables["SOAK_SEED"] == "7"

    def test_leaves_other_engines_the_core_where_a_change_concerns_none(self, tmp_path: Path) -> None:
        command = pytest_run._command(["unit", "sqlite"], tmp_path, replace(OPTIONS, core=True))
        assert "--core" in command

    def test_load_has_a_process_of_its_own(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        *_, started = self.run(monkeypatch, tmp_path, ["unit", "load"], (0, [GOOD]), (5, []))
        assert ["tests/load" in command for command, _ in started.commands] == [False, True]
        assert started.commands[1][0].count("1*popen") == 1

    def test_what_fails_once_is_flaky_and_counts_as_passed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        second = [replace(BAD, outcome="passed", text=""), replace(ON_SQLITE, text="locked again")]
        found, flaky, started = self.run(
            monkeypatch, tmp_path, ["integration", "sqlite"],
            (1, [GOOD, BAD, ON_SQLITE]), (0, second[:1]), (1, second[1:]),
        )  # fmt: skip
        assert [(test.suite, test.outcome) for test in found] == [
            ("unit", "passed"), ("integration", "passed"), ("sqlite", "failed"),
        ]  # fmt: skip
        assert "locked again" in found[2].text
        assert [(test.nodeid, test.first) for test in flaky] == [(BAD.nodeid, "assert 1 == 2")]
        first, _, on_sqlite = started.commands
        assert "1*popen//env:TEST_DATABASE=sqlite" in on_sqlite[0]
        assert [part for part in first[0] if "seed" in part] == [part for part in on_sqlite[0] if "seed" in part]

    def test_a_broken_promise_is_not_run_again(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        found, flaky, started = self.run(
            monkeypatch, tmp_path, ["integration"], (1, [replace(BAD, promise=True)])
        )  # fmt: skip
        assert [test.outcome for test in found] == ["failed"]
        assert not flaky
        assert len(started.commands) == 1

    def test_many_failures_are_not_run_again(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        many = [replace(BAD, nodeid=f"{BAD.nodeid}[{number}]") for number in range(pytest_run.MOST_AGAIN + 1)]
        found, flaky, _ = self.run(monkeypatch, tmp_path, ["integration"], (1, many))
        assert {test.outcome for test in found} == {"failed"}
        assert not flaky
        assert "21 tests failed, more than 20: they are not run again" in capsys.readouterr().out

    @pytest.mark.parametrize(("code", "failed"), [(0, False), (5, False), (1, True), (3, True), (-9, True)])
    def test_pytests_exit_code_counts_when_no_test_failed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, failed: bool
    ) -> None:
        found, *_ = self.run(monkeypatch, tmp_path, ["unit"], (code, [GOOD]))
        assert any(test.outcome == "failed" for test in found) is failed

    def test_a_suite_of_which_nothing_ran_is_red(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Its processes died before they had collected: xdist gives up, and the session has no failed test."""
        found, *_ = self.run(monkeypatch, tmp_path, ["unit", "sqlite"], (5, [GOOD]))
        assert [(test.suite, test.nodeid) for test in found if test.outcome == "failed"] == [("sqlite", SESSION)]

    def test_what_goes_wrong_with_the_second_run_is_red(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        passed = replace(BAD, outcome="passed", text="")
        found, *_ = self.run(monkeypatch, tmp_path, ["integration"], (1, [BAD]), (3, [passed]))
        assert [test.nodeid for test in found if test.outcome == "failed"] == [SESSION]

    def test_a_word_names_the_files_that_may_have_it(self) -> None:
        assert "tests/unit/scripts/test_report.py" in pytest_run.files_of("test_a_word_names_the_files")
        assert pytest_run.files_of("not a_word") == []

    def test_a_word_that_stands_nowhere_may_be_of_any_file(self) -> None:
        assert pytest_run.files_of(f"test_report or {'nowhere' * 2}") == []


class TestAnEngineWithoutAServer:
    @pytest.mark.parametrize(
        ("engine", "ci", "outcome", "told"),
        [
            ("mariadb", "", "skipped", "there is no mariadbd: apt-get install mariadb-server"),
            ("mariadb", "true", "failed", "there is no mariadbd: apt-get install mariadb-server"),
            ("mysql", "true", "skipped", "there is no mysqld of MySQL: `.ci/mysql build/mysql`"),
        ],
    )
    def test_is_reported_and_a_ci_fails_that_has_debians(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, ci: str, outcome: str, told: str
    ) -> None:
        monkeypatch.setenv("CI", ci)
        monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
        ((found,), flaky) = pytest_run.run([engine], tmp_path, OPTIONS)
        assert (found.outcome, flaky) == (outcome, [])
        assert told in found.text

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


class TestTheCommand:
    @pytest.fixture
    def ran(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
        """The suites of each run; all of them pass, but for a part that is named in `failing`."""
        found: list[list[str]] = []

        def run(suites: Sequence[str], *_: object, **__: object) -> Run:
            found.append([*suites])
            return Run([SuiteResult(name, [case("passed")]) for name in suites], "today", 1.0, "a machine")

        monkeypatch.setattr(runner, "REPORTS", tmp_path / "reports")
        monkeypatch.setattr(kept_parts, "FOLDER", tmp_path / "reports" / "full")
        monkeypatch.setattr(kept_parts, "state_of_tree", lambda: "one")
        monkeypatch.setattr(runner, "_run", run)
        return found

    @pytest.mark.parametrize(
        ("arguments", "suites"),
        [
            (["mariadb"], ["mariadb"]),
            (["sqlite", "unit"], ["sqlite", "unit"]),
            (["--suite", "sqlite", "-k", "x"], ["sqlite"]),
        ],
    )
    def test_runs_what_is_named(self, ran: list[list[str]], arguments: list[str], suites: list[str]) -> None:
        assert runner.main(arguments) == 0
        assert ran == [suites]

    @pytest.mark.parametrize("concerned", [True, False])
    def test_runs_the_default_tier_with_other_engines_where_a_change_may_concern_them(
        self, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], concerned: bool
    ) -> None:
        monkeypatch.setattr(changes, "concern_engines", lambda: concerned)
        assert runner.main([]) == 0
        assert {"mariadb", "mysql"} & {*ran[0]} == ({"mariadb", "mysql"} if concerned else set())
        assert {"unit", "integration", "sqlite", "e2e", "faults", "security", "performance"} <= {*ran[0]}
        told = capsys.readouterr().out
        assert ("what concerns the schema or another engine alone" in told) is not concerned
        assert "left out: the tests of the full tier" in told
        assert "python3 run_tests.py --full" in told

    def test_keeps_the_results_of_parts_and_runs_those_that_have_none(
        self, ran: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert runner.main(["--full", "--part", "faults"]) == 0
        assert "no result of this commit yet: postgresql, length, mariadb" in capsys.readouterr().out
        assert runner.main(["--full"]) == 0
        assert ran == [[*PARTS["faults"]], *([*suites] for name, suites in PARTS.items() if name != "faults")]
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"{sum(map(len, PARTS.values()))} passed")

    def test_runs_further_parts_when_they_are_named_and_goes_on_where_it_was_stopped(
        self, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second, *_ = scripts.FIGURES
        run = runner._run

        def stop_at_the_second(suites: Sequence[str], *options: object) -> Run:
            if second in suites and [second] not in ran:
                ran.append([second])
                raise KeyboardInterrupt
            return run(suites, *options)

        monkeypatch.setattr(runner, "_run", stop_at_the_second)
        assert runner.main(["--full", "--part", "figures"]) == 130
        assert runner.main(["--full", "--part", "figures", "--part", "mutants"]) == 0
        assert ran == [[first], [second], *([name] for name in scripts.FIGURES[1:]), ["mutants"]]

    def test_runs_a_part_again_that_failed(self, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
        assert runner.main(["--full", "--part", "faults"]) == 0
        monkeypatch.setattr(kept_parts, "has_passed", lambda name: name != "faults")
        assert runner.main(["--full"]) == 0
        assert ran == [[*PARTS["faults"]]] * 2

    def test_forgets_the_results_of_another_commit(self, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
        assert runner.main(["--full", "--part", "faults"]) == 0
        monkeypatch.setattr(kept_parts, "state_of_tree", lambda: "two")
        assert not kept_parts.is_kept("faults")

    def test_a_tree_that_changes_meanwhile_has_no_result(
        self, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        states = map(str, itertools.count())
        monkeypatch.setattr(kept_parts, "state_of_tree", lambda: next(states))
        assert runner.main(["--full", "--part", "faults"]) == 1
        told = capsys.readouterr().out
        assert "the tree has changed while part faults ran: its result is not kept" in told
        assert "1 passed, 0 failed" in told

    def test_a_part_whose_result_cannot_be_read_is_run_again(self, ran: list[list[str]]) -> None:
        assert runner.main(["--full", "--part", "faults"]) == 0
        (kept_parts.FOLDER / "faults" / "result.json").write_text("{", encoding="utf-8")
        assert not kept_parts.has_passed("faults")

    def test_a_part_is_not_narrowed(self, ran: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
        for more in (["-k", "word"], ["unit"]):
            with pytest.raises(SystemExit):
                runner.main(["--full", "--part", "faults", *more])
            assert "--part runs the whole part" in capsys.readouterr().err
        assert ran == []

    def test_two_runs_do_not_write_the_same_reports(
        self, ran: list[list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        with only_run(tmp_path / "reports"):
            assert runner.main(["unit"]) == 2
        assert "another run writes" in capsys.readouterr().err
        assert ran == []

    def test_what_one_sets_for_pytest_is_not_passed_on(
        self, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in runner.NOT_PASSED_ON:
            monkeypatch.setenv(name, "x")
        assert runner.main(["unit"]) == 0
        assert not {*runner.NOT_PASSED_ON} & {*os.environ}

    def test_without_git_the_parts_of_one_command_are_one_run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def no_git(*_: object, **__: object) -> None:
            raise FileNotFoundError("git")

        monkeypatch.setattr(kept_parts, "FOLDER", tmp_path)
        monkeypatch.setattr(subprocess, "run", no_git)
        run = Run([SuiteResult("faults", [case("passed")])], "today", 1.0, "a machine")
        reports = tmp_path / "reports"
        reports.mkdir()
        kept_parts.keep("faults", run, reports, kept_parts.state_of_tree())
        assert kept_parts.merged(["faults"], reports).count("passed") == 1

    def test_keeps_the_files_of_each_part(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Else the durations, the coverage and the pictures would be those of the last part alone."""
        reports = tmp_path / "reports"
        monkeypatch.setattr(kept_parts, "FOLDER", reports / "full")
        monkeypatch.setattr(kept_parts, "state_of_tree", lambda: "one")
        for name, test, lines in (("faults", BAD, {5}), ("outside", GOOD, {8})):
            reports.mkdir(exist_ok=True)
            durations.write([replace(test, outcome="passed")], reports / "durations.json")
            (reports / "coverage").mkdir()
            data = imported("coverage").CoverageData(str(reports / "coverage" / "data"))
            data.add_lines({str(ROOT / "app" / "main.py"): lines})
            data.write()
            (reports / f"{name}.png").write_bytes(b"png")
            run = Run([SuiteResult(name, [case("passed")])], "today", 1.0, "a machine")
            kept_parts.keep(name, run, reports, "one")
            assert not kept_parts.files_of_a_run(reports)
        run = kept_parts.merged(["faults", "outside"], reports)
        assert {*json.loads((reports / "durations.json").read_text(encoding="utf-8"))} == {"integration", "unit"}
        assert {path.stem for path in reports.glob("*.png")} == {"faults", "outside"}
        covered = json.loads((reports / "coverage.json").read_text(encoding="utf-8"))["totals"]["covered_lines"]
        assert run.coverage is not None
        assert run.coverage["parts"] == ["faults", "outside"]
        assert covered == 2

    def test_refuses_a_name_of_no_suite(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            runner.main(["oracle"])
        assert "oracle is none of unit, integration, mariadb, mysql, sqlite" in capsys.readouterr().err


class TestChanges:
    @pytest.mark.parametrize(
        ("answers", "concerned"),
        [
            ({"merge-base": "a", "rev-parse HEAD": "b", "diff": "app/web/forms.py\nREADME.md"}, False),
            ({"merge-base": "a", "rev-parse HEAD": "b", "diff": "app/db/sql.py"}, True),
            ({"merge-base": "a", "rev-parse HEAD": "b", "diff": "app/maintenance/lease.py"}, True),
            ({"merge-base": "b", "rev-parse HEAD": "b", "rev-parse --verify": "a", "diff": "app/models/task.py"}, True),
            ({"merge-base": "b", "rev-parse HEAD": "b", "rev-parse --verify": "a", "diff": "docs/faq.md"}, False),
            ({"merge-base": "b", "rev-parse HEAD": "b"}, True),  # main has one commit alone
            ({}, True),  # no base, no git
        ],
    )
    def test_of_the_folders_with_statements_concern_other_engines(
        self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], concerned: bool
    ) -> None:
        def git(*arguments: str) -> str | None:
            return next((said for asked, said in answers.items() if " ".join(arguments).startswith(asked)), None)

        monkeypatch.setattr(changes, "_git", git)
        assert changes.concern_engines() is concerned

    def test_that_break_another_engine_concern_it(self) -> None:
        """Else a mutant that only MariaDB or SQLite sees would not be seen by the run of its change."""
        files = tuple(f"tests/{file}" for file in SCHEMA)
        mutants = [m for m in read_mutants() if m.engine != "postgresql" or m.tests[0].startswith(files)]
        assert mutants
        assert [mutant.name for mutant in mutants if not mutant.file.startswith(changes.CONCERNING)] == []


@pytest.mark.parametrize(
    ("outcomes", "code"), [(["passed", "skipped"], 0), (["passed", "failed", "skipped"], 1), (["skipped"], 1), ([], 1)]
)
def test_exit_code_and_last_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], outcomes: list[str], code: int
) -> None:
    monkeypatch.setattr(runner, "REPORTS", tmp_path / "reports")
    suites = [SuiteResult("unit", [case(outcome) for outcome in outcomes])]
    monkeypatch.setattr(runner, "_run", lambda *_, **__: Run(suites, "today", 1.0, "a machine"))
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
def test_a_section_of_the_performance_suite_is_one_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Findings, outcome: str
) -> None:
    figures = {"endpoints": [], "sections": [found.as_json()]}

    def measure(command: Sequence[str], _: object) -> int:
        Path(command[command.index("--json") + 1]).write_text(json.dumps(figures), encoding="utf-8")
        return 0

    monkeypatch.setattr(scripts, "run_child", measure)
    for suite in ("performance", "figures-run"):
        cases = scripts.run(suite, tmp_path, full=True).cases
        assert [(each.suite, each.name, each.outcome) for each in cases] == [(suite, "run", outcome)]


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


def test_the_page_tells_what_was_flaky_and_which_mutants_were_seen(tmp_path: Path) -> None:
    mutant = read_mutants()[0]
    results = [
        {"name": "no_fence", "breaks": "It <lies>.", "seen_by": "t.py::t", "digest": "of other code"},
        {"name": mutant.name, "breaks": "x", "seen_by": "t.py::t", "digest": mutant.digest()},
    ]
    (tmp_path / "mutants.json").write_text(json.dumps(results), encoding="utf-8")
    flaky = [Flaky("unit", "tests/unit/test_x.py::test_y", "first <text>", "second text")]
    text = page.render(Run([SuiteResult("unit", [case("passed")])], "today", 1.0, "a machine", flaky=flaky), tmp_path)
    assert f"Mutants: 1 of {len(read_mutants())} seen, 1 not tried since" in text
    assert "It &lt;lies&gt;." in text
    assert "first &lt;text&gt;" in text
    assert "second text" in text


def test_coverage_is_summed_by_package() -> None:
    half = {"num_statements": 8, "covered_lines": 4}
    full = {"num_statements": 10, "covered_lines": 10}
    files = {"app/db/statements/writes.py": half, "app/db/session.py": full, "app/main.py": full}
    data = {"files": {name: {"summary": each} for name, each in files.items()}}
    found = coverage_data.summarise(data)
    rows = found["packages"]
    assert found["percent"] == pytest.approx(100 * 24 / 28)
    assert [row["name"] for row in rows] == ["app/*.py", "app/db"]
    assert rows[1] == {"name": "app/db", "percent": pytest.approx(100 * 14 / 18), "statements": 18, "missing": 4}
