"""What a session of pytest leaves for the report and for the second run, and which tests an option chooses."""

import json
from pathlib import Path

import pytest

from tests.report import recorded
from tests.report.recorded import Recorded

PLUGINS = ("-p", "tests.support.selection", "-p", "tests.report.recorder", "-p", "no:cacheprovider")
FILE = """
import pytest
from tests.report.recorded import BrokenPromise

def test_good(): print("said")
def test_bad(): assert 1 == 2
def test_lost(): raise BrokenPromise("a task was lost")
def test_row(): raise BaseExceptionGroup("1 of 2 rows", [BrokenPromise("doubled")])
@pytest.mark.promise
def test_model(): assert False
@pytest.mark.skip(reason="why")
def test_left_out(): pass
@pytest.fixture
def dirty():
    yield
    raise OSError("teardown")
def test_dirty(dirty): pass
"""


def run(
    pytester: pytest.Pytester, *options: str, path: str = "tests", file: str = FILE, within: str = ""
) -> dict[str, Recorded]:
    folder = pytester.path / "tests" / "unit" / within
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test_x.py").write_text(file, encoding="utf-8")
    results = pytester.path / "results.json"
    pytester.runpytest_inprocess(*PLUGINS, f"--rootdir={pytester.path}", f"--results={results}", *options, path)
    return {test.nodeid.partition("::")[2]: test for test in recorded.read(results)}


def test_has_the_outcome_of_each_test_and_tells_a_broken_promise_from_other_failures(pytester: pytest.Pytester) -> None:
    found = run(pytester)
    assert {name: test.outcome for name, test in found.items()} == {
        "test_good": "passed", "test_bad": "failed", "test_lost": "failed", "test_row": "failed", "test_model": "failed",
        "test_left_out": "skipped", "test_dirty": "failed",
    }  # fmt: skip
    assert {test.suite for test in found.values()} == {"unit"}
    assert "assert 1 == 2" in found["test_bad"].text
    assert found["test_left_out"].text == "Skipped: why"
    assert "teardown" in found["test_dirty"].text
    assert found["test_good"].text == ""
    assert {name for name, test in found.items() if test.promise} == {
        "test_lost",
        "test_row",
        "test_model",
        "test_dirty",
    }


def test_a_marker_is_that_of_the_test_and_no_name_of_a_folder(pytester: pytest.Pytester) -> None:
    file = "import pytest\n@pytest.mark.full\ndef test_long(): pass\ndef test_short(): pass"
    found = run(pytester, "--full", file=file, within="full")
    assert {name: test.marker for name, test in found.items()} == {"test_long": "full", "test_short": ""}


def test_the_second_run_has_what_is_listed_and_keeps_what_it_says(pytester: pytest.Pytester, tmp_path: Path) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(
        json.dumps([["unit", "tests/unit/test_x.py::test_good"], ["sqlite", "tests/unit/test_x.py::test_bad"]])
    )
    found = run(pytester, "--only", str(listed))
    assert [*found] == ["test_good"]
    assert "said" in found["test_good"].text


def test_a_file_that_is_named_is_left_out_where_its_suite_is_none_of_the_run(pytester: pytest.Pytester) -> None:
    assert run(pytester, "--suites", "integration", path="tests/unit/test_x.py") == {}


def test_what_was_collected_and_never_ran_has_failed(pytester: pytest.Pytester) -> None:
    found = run(pytester, "-x")
    assert "it was not run" in found["test_left_out"].text
    assert found["test_left_out"].outcome == "failed"


KEPT_AT_ONCE = """
import json
from pathlib import Path

def test_bad(): assert 1 == 2
def test_kept():
    kept = {test["nodeid"].rpartition("::")[2]: test for test in json.loads(Path("results.json").read_text())}
    assert "assert 1 == 2" in kept["test_bad"]["text"]
    assert [kept[name]["not_run"] for name in ("test_bad", "test_kept", "test_last")] == [False, True, True]
    assert {test["outcome"] for test in kept.values()} == {"failed"}
def test_last(): pass
"""


def test_a_failure_is_told_and_kept_at_once(pytester: pytest.Pytester) -> None:
    """Of a run that is killed nothing else is left; what had not ended by then has failed."""
    found = run(pytester, file=KEPT_AT_ONCE)
    outcomes = {"test_bad": "failed", "test_kept": "passed", "test_last": "passed"}
    assert {name: test.outcome for name, test in found.items()} == outcomes


def test_what_has_not_ended_has_failed(pytester: pytest.Pytester) -> None:
    """Its setup was well, and nothing is known of more."""
    found = run(pytester, file="import pytest\ndef test_ends_all(): pytest.exit('bye', returncode=0)")
    assert found["test_ends_all"].outcome == "failed"
    assert found["test_ends_all"].promise


def test_a_file_that_skips_itself_is_told(pytester: pytest.Pytester) -> None:
    found = run(pytester, file="import pytest\npytest.skip('no chromium', allow_module_level=True)")
    assert [(test.outcome, test.text) for test in found.values()] == [("skipped", "Skipped: no chromium")]


def test_a_file_that_cannot_be_read_is_red_at_once(pytester: pytest.Pytester) -> None:
    broken = pytester.mkdir("tests") / "unit"
    broken.mkdir()
    (broken / "test_broken.py").write_text("import no_such_module", encoding="utf-8")
    run(pytester, "--continue-on-collection-errors")
    found = {test.nodeid: test for test in recorded.read(pytester.path / "results.json")}
    assert found["tests/unit/test_broken.py"].promise
    assert found["tests/unit/test_x.py::test_good"].outcome == "passed"
