"""Writes what became of each test into the file of `--results`, for the report and for the second run of what failed.

A plugin that `tests/conftest.py` names. In a parallel run the process that leads it writes.
"""

import faulthandler
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import pytest

from tests.report.model import ROOT
from tests.report.recorded import MARKER, MARKERS, PROMISE, SESSION, BrokenPromise, Recorded
from tests.support.databases import ENGINE
from tests.support.selection import suite_of
from tests.support.shared_servers import engine_of

STACKS = pytest.StashKey[IO[str]]()


class Recorder:
    name = "recorder"

    def __init__(self, path: Path, tell: Callable[[str], None], *, keep_output: bool) -> None:
        self._path, self._tell, self._keep_output = path, tell, keep_output
        self._tests: dict[tuple[str, str], Recorded] = {}
        self._collected: set[tuple[str, str]] = set()
        self._ended: set[tuple[str, str]] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._expect(ENGINE, [item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._expect(engine_of(node.gateway.spec), ids)

    def _expect(self, engine: str, nodeids: Sequence[str]) -> None:
        self._collected.update((suite_of(nodeid, engine), nodeid) for nodeid in nodeids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        node: Any = getattr(report, "node", None)
        suite = suite_of(report.nodeid, engine_of(node.gateway.spec) if node else ENGINE)
        test = self._tests.setdefault((suite, report.nodeid), Recorded(suite, report.nodeid))
        test.add(report, keep_output=self._keep_output)
        if report.when == "teardown":
            self._ended.add((suite, report.nodeid))
        elif report.when not in ("setup", "call"):  # xdist's report of a process that died in the test
            self._ended.add((suite, report.nodeid))
            test.promise = test.promise or has_promises(report.nodeid)
            test.text += stacks_of(self._path, node.gateway.id)
        if report.failed:  # told and kept at once: who stops a long run for it wants to know
            self._tell(f"FAILED {suite}: {report.nodeid}")
            self.write()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read has no tests: it is a failure of its own. One that skips itself is a skip."""
        if report.failed or report.skipped:
            suite = suite_of(report.nodeid, ENGINE) if report.nodeid.startswith("tests/") else ""
            text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            outcome = report.outcome
            self._tests[suite, report.nodeid] = Recorded(suite, report.nodeid, outcome, 0, text, promise=report.failed)
            self._ended.add((suite, report.nodeid))

    def fail(self, text: str) -> None:
        """What is wrong with no test, but with the session, perhaps after its end."""
        known = self._tests.setdefault(("", SESSION), Recorded("", SESSION, "failed", promise=True))
        known.text += f"{text}\n"
        self.write()

    def pytest_sessionfinish(self) -> None:
        self.write()

    def write(self) -> None:
        """At any moment what holds if nothing more comes: whoever reads the file cannot tell whether the session has
        ended."""
        told = [*map(self._so_far, self._tests.items()), *map(_not_run, self._collected - self._tests.keys())]
        self._path.write_text(json.dumps([asdict(test) for test in told]), encoding="utf-8")

    def _so_far(self, item: tuple[tuple[str, str], Recorded]) -> Recorded:
        key, test = item
        if test.outcome != "passed" or key in self._ended:
            return test
        return replace(test, outcome="failed", promise=True, text="the session ended before this test")


def _not_run(key: tuple[str, str]) -> Recorded:
    return Recorded(*key, "failed", 0, "it was not run: the session ended before it", promise=True, not_run=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, help="write the outcome of each test into this JSON file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise: a failure is never run again, since the service has broken a promise")
    if config.getoption("results") and not hasattr(config, "workerinput"):
        again = config.getoption("only") is not None  # what a flaky test says both times is kept
        recorder = Recorder(config.getoption("results"), lambda line: _write_line(config, line), keep_output=again)
        config.pluginmanager.register(recorder, Recorder.name)


def _write_line(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    report.user_properties += [(MARKER, name) for name in MARKERS if item.get_closest_marker(name)][:1]
    if report.failed and call.excinfo is not None:
        marked = item.get_closest_marker(PROMISE) is not None and call.when == "call"
        # The teardown of a fixture that others use too would be told of another test, which passes when it is alone.
        if marked or call.when == "teardown" or _is_broken_promise(call.excinfo.value):
            report.user_properties.append((PROMISE, "broken"))
    return report


def _is_broken_promise(error: BaseException | None) -> bool:
    """Also within the group of a table's rows, or of Hypothesis's examples, and where it was the cause of another."""
    if error is None or isinstance(error, BrokenPromise):
        return error is not None
    within = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return any(map(_is_broken_promise, (*within, error.__cause__, error.__context__)))


def has_promises(nodeid: str) -> bool:
    """Of a test whose process died nothing is known but its file."""
    path = ROOT / nodeid.partition("::")[0]
    return path.exists() and f"mark.{PROMISE}" in path.read_text(encoding="utf-8")


def stacks_of(results: Path, process: str) -> str:
    """What the threads of a process did when its test met the time limit; empty where it died of something else."""
    path = _stacks(results, process)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return f"── stacks at the time limit\n{text}" if text else ""


def _stacks(results: Path, process: str) -> Path:
    return results.with_name(f"{results.stem}-stacks-{process}.txt")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Iterator[Any]:
    """pytest-timeout prints the stacks and ends the process; in a parallel run nobody would see what it printed."""
    process = getattr(item.config, "workerinput", {}).get("workerid")
    results = item.config.getoption("results")
    if process and results and settings.timeout:
        item.stash[STACKS] = file = _stacks(results, process).open("w", encoding="utf-8")
        faulthandler.dump_traceback_later(max(settings.timeout - 1, 0.1), file=file)
    return (yield)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> Iterator[Any]:
    file = item.stash.get(STACKS, None)
    if file is not None:
        faulthandler.cancel_dump_traceback_later()
        file.close()
        Path(file.name).unlink()
        del item.stash[STACKS]
    return (yield)
