"""Writes what became of each test into the file of `--results`, for the report and for the second run of what failed.

A plugin that `tests/conftest.py` names. In a parallel run the process that leads it writes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.report.recorded import PROMISE, SESSION, BrokenPromise, Recorded
from tests.support.databases import ENGINE
from tests.support.selection import suite_of
from tests.support.shared_servers import engine_of


class Recorder:
    name = "recorder"

    def __init__(self, path: Path, *, keep_output: bool) -> None:
        self._path, self._keep_output = path, keep_output
        self._tests: dict[tuple[str, str], Recorded] = {}
        self._collected: set[tuple[str, str]] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._expect(ENGINE, [item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self._expect(engine_of(node.gateway.spec), ids)

    def _expect(self, engine: str, nodeids: Sequence[str]) -> None:
        self._collected.update((suite_of(nodeid, engine), nodeid) for nodeid in nodeids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        node = getattr(report, "node", None)
        suite = suite_of(report.nodeid, engine_of(node.gateway.spec) if node else ENGINE)
        self._tests.setdefault((suite, report.nodeid), Recorded(suite, report.nodeid)).add(
            report, keep_output=self._keep_output
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read has no tests: it is a failure of its own."""
        if report.failed:
            suite = suite_of(report.nodeid, ENGINE) if report.nodeid.startswith("tests/") else ""
            self._tests[suite, report.nodeid] = Recorded(
                suite, report.nodeid, "failed", 0, report.longreprtext, promise=True
            )

    def fail(self, text: str) -> None:
        """What is wrong with no test, but with the session, perhaps after its end."""
        known = self._tests.setdefault(("", SESSION), Recorded("", SESSION, "failed", promise=True))
        known.text += f"{text}\n"
        self.write()

    def pytest_sessionfinish(self) -> None:
        for suite, nodeid in self._collected - self._tests.keys():
            text = "it was not run: the session ended before it"
            self._tests[suite, nodeid] = Recorded(suite, nodeid, "failed", 0, text, promise=True, not_run=True)
        self.write()

    def write(self) -> None:
        self._path.write_text(json.dumps([asdict(test) for test in self._tests.values()]), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, help="write the outcome of each test into this JSON file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise: a failure is never run again, since the service has broken a promise")
    if config.getoption("results") and not hasattr(config, "workerinput"):
        again = config.getoption("only") is not None  # what a flaky test says both times is kept
        config.pluginmanager.register(Recorder(config.getoption("results"), keep_output=again), Recorder.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    if report.failed and call.excinfo is not None:
        marked = item.get_closest_marker(PROMISE) is not None and call.when == "call"
        if marked or _is_broken_promise(call.excinfo.value):
            report.user_properties.append((PROMISE, "broken"))
    return report


def _is_broken_promise(error: BaseException) -> bool:
    """Also within the group of a table's rows, or of Hypothesis's examples."""
    within = error.subgroup(BrokenPromise) if isinstance(error, BaseExceptionGroup) else None
    return isinstance(error, BrokenPromise) or within is not None
