"""Deadlines, checks that rest on others, and the report in two languages."""

import ast
import json
import threading
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

import app.__main__ as program
from app.core.config import ConfigurationError, Settings
from app.core.languages import texts_of
from app.doctor import findings
from app.doctor.checks import checks_of, examine
from app.doctor.findings import Check, Finding, Level, fail, left_running, ok, run_check, run_checks, warn
from app.errors import Text, Unavailable
from tests.support.sources import APP, app_files, text_of

# What other modules say, which stands in gaps.
OF_OTHERS = {
    "does not answer", "read-only: it takes no writes", "its disk is full: it takes no writes",
    "it refuses writes: see its log", "SECRET_KEY is short or a placeholder: good enough for development only",
}  # fmt: skip
RESULTS = [
    (Text("database"), [ok(Text("{} answers", "x"))]),
    (Text("queues"), [fail(Text("{}", "a\nb"), Text("raise maxmemory"))]),
]


class TestRunning:
    def test_a_check_that_hangs_has_a_deadline(self) -> None:
        goes_on = threading.Event()

        def hang() -> Iterator[Finding]:
            goes_on.wait(30)
            yield ok(Text("late"))

        try:
            (found,) = run_check(Check(Text("slow"), hang, seconds=0.05))
            assert (found.level, str(found.seen)) == (Level.FAIL, "no answer within 0.05 s")
            assert left_running()
        finally:
            goes_on.set()

    def test_an_error_is_a_finding_and_ends_nothing(self) -> None:
        def first() -> Iterator[Finding]:
            yield warn(Text("seen before"))
            raise ValueError("bad password=hidden-word\nand more")

        def second() -> Iterator[Finding]:
            raise Unavailable("the service's own error")

        checks = [Check(Text("a"), first), Check(Text("b"), second), Check(Text("c"), lambda: ())]
        found = [[str(finding.seen) for finding in findings] for _, findings in run_checks(checks)]
        assert found == [
            ["seen before", "ValueError: bad password=***"], ["the service's own error"], ["nothing is wrong"],
        ]  # fmt: skip

    def test_what_rests_on_a_failed_check_is_not_checked(self) -> None:
        checks = [
            Check(Text("a"), lambda: [fail(Text("no"))]),
            Check(Text("b"), lambda: [fail(Text("not to be run"))], needs=("a",)),
            Check(Text("c"), lambda: [fail(Text("not to be run"))], needs=("b",)),
            Check(Text("d"), lambda: [ok(Text("yes"))]),
        ]
        levels = {str(name): finding.level for name, (finding,) in run_checks(checks)}
        assert levels == {"a": Level.FAIL, "b": Level.WARN, "c": Level.WARN, "d": Level.OK}

    def test_each_check_needs_one_that_runs_before_it(self) -> None:
        before: set[str] = set()
        for check in checks_of(Settings()):
            assert set(check.needs) <= before
            before.add(str(check.name))

    def test_settings_that_are_refused_end_with_a_report(self) -> None:
        def refuse() -> Settings:
            raise ConfigurationError("configuration: API_THREADS: no number")

        found = {str(name): findings for name, findings in examine(refuse)}
        assert [*found] == ["Python", "packages", "configuration"]
        assert found["configuration"][0].level == Level.FAIL


class TestTheReport:
    def test_is_a_line_for_each_finding(self) -> None:
        assert list(findings.report_lines(RESULTS, "en", colours=False)) == [
            "ok    database              x answers",
            "FAIL  queues                a b  raise maxmemory",
        ]

    def test_steers_no_terminal(self) -> None:
        seen = [(Text("broker"), [warn(Text("{}", "a\x1b[2J\x07\x9b\u202eb"), Text("c\rd"))])]
        assert json.loads(findings.report_as_json(seen, "en"))[0]["seen"] == "a\x1b[2J\x07\x9b\u202eb"
        assert not set(findings.report_as_json(seen, "en")) & set("\x1b\x07\x9b\u202e")
        assert list(findings.report_lines(seen, "en", colours=False)) == ["warn  broker                a [2J   b  c d"]

    def test_is_chinese_in_columns(self) -> None:
        first, second = findings.report_lines(RESULTS, "zh", colours=False)
        assert first == "ok    数据库                x 有响应"
        assert second == "FAIL  队列                  a b  请调高 maxmemory"

    def test_has_colours_where_asked_for(self) -> None:
        assert next(findings.report_lines(RESULTS, "en", colours=True)).startswith("\x1b[32mok  \x1b[0m  database")

    def test_is_json_with_the_same_names_in_each_language(self) -> None:
        (_, found) = json.loads(findings.report_as_json(RESULTS, "zh"))
        assert found == {"level": "FAIL", "check": "queues", "seen": "a\nb", "remedy": "请调高 maxmemory"}

    @pytest.mark.parametrize(
        ("environment", "language"),
        [
            ({}, "en"),
            ({"LANG": "zh_CN.UTF-8"}, "zh"),
            ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
            ({"LANG": "de_DE.UTF-8", "LC_ALL": "zh_TW"}, "zh"),
            ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ],
    )
    def test_language_is_that_of_the_locale(self, environment: dict[str, str], language: str) -> None:
        assert findings.language_of(environment) == language


class TestTranslations:
    def test_each_text_has_one_with_the_same_gaps(self) -> None:
        literals = {
            ast.literal_eval(node.args[0])
            for path in app_files("doctor")
            for node in ast.walk(ast.parse(text_of(path)))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == Text.__name__
        }
        with_words = {each for each in literals if any(map(str.isalpha, each))}
        untranslated = {each for each in with_words if each.startswith(("pip ", "APP_ENV"))}
        assert with_words - untranslated | OF_OTHERS == texts_of("app.doctor", "zh").keys()
        assert all(text.count("{}") == chinese.count("{}") for text, chinese in texts_of("app.doctor", "zh").items())

    def test_what_other_modules_say_is_said_there(self) -> None:
        elsewhere = "".join(text_of(path) for path in app_files() if APP / "doctor" not in path.parents)
        assert {text for text in OF_OTHERS if f'"{text}"' not in elsewhere} == set()


class TestTheCommand:
    @pytest.mark.parametrize(("level", "code"), [(Level.OK, 0), (Level.WARN, 0), (Level.FAIL, 1)])
    def test_fails_if_a_check_does(self, level: Level, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "app.doctor.checks.examine", lambda _: iter([(Text("broker"), [Finding(level, Text("x"))])])
        )
        monkeypatch.setattr("app.doctor.findings.left_running", lambda: False)
        ended = CliRunner().invoke(program.cli, ["doctor"])
        assert (ended.exit_code, ended.output) == (code, f"{level:<4}  broker                x\n")
