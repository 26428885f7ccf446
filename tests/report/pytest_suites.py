"""The suites that pytest runs, each in a process of its own, their outcome read back from JUnit XML."""

import os
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from tests.report import coverage_data
from tests.report.children import run_child
from tests.report.model import ROOT, Case, SuiteResult
from tests.support.databases import MariaDB, MySQL

# On the server or library of this name (`tests/support/databases.py`), what runs without --full: the faults that every engine
# stands, and those files of `tests/integration` that start no processes and take some seconds. MySQL gets the statements of
# MariaDB: some files are enough. With --full: all of both folders.
_BRIEF = "every_engine or not (faults or processes or costly)"
IN_EACH_RUN = {"mariadb": _BRIEF, "mysql": "mysql", "sqlite": _BRIEF}
ENGINES = tuple(IN_EACH_RUN)
SERVERS = {"mariadb": MariaDB, "mysql": MySQL}
NAMES = ("unit", "integration", *ENGINES, "e2e", "faults", "load")
ALONE = ("load",)  # what else runs at that time would be measured with it, and so would the measuring of coverage
# They measure times of processes that start, die and freeze: with more jobs than cores they start too late to tell.
TIMED = ("faults", *ENGINES)
NOTHING_COLLECTED = 5
NO_SEPARATE_CACHE = ("-p", "no:cacheprovider")
# Most tests wait for processes to start, to notice, to end. A file stays in one process: its fixtures are shared.
# One that dies (a test past its time limit ends its process) ends the run: restarted, it left the others waiting for ever.
# In the order of `tests/conftest.py`: by the number of tests, as xdist would have it, the longest files came last.
PARALLEL = ("--max-worker-restart", "0", "--dist", "loadfile", "--no-loadscope-reorder", "-n")


@dataclass(frozen=True)
class Options:
    """What the command line says of pytest's suites; `jobs` is how many processes share the tests of a suite."""

    keyword: str | None
    full: bool
    coverage: bool
    jobs: int


def run(name: str, reports: Path, options: Options) -> SuiteResult:
    if name in SERVERS and (why := SERVERS[name].why_absent()):
        # A CI has Debian's, or else nobody would notice that it was never tried. It may not reach the archive of the other.
        outcome = "failed" if os.environ.get("CI") and name == "mariadb" else "skipped"
        return SuiteResult(name, [Case(name, "pytest", "all", outcome, 0, why)])
    folders = [ROOT / "tests" / folder for folder in (("integration", "faults") if name in ENGINES else (name,))]
    if not any(path for folder in folders for path in folder.rglob("test_*.py")):
        return SuiteResult(name, note="absent: it has no tests yet")
    xml = reports / f"{name}.xml"
    measured = coverage_data.command(reports) if options.coverage and name not in ALONE else []
    jobs = min(options.jobs, os.cpu_count() or 1) if name in TIMED else options.jobs
    selection = [
        *(["-k", options.keyword] if options.keyword else []),
        *(["--full"] if options.full else ["-m", IN_EACH_RUN[name]] if name in ENGINES else []),
        *([*PARALLEL, str(jobs)] if jobs > 1 and name not in ALONE else []),
    ]
    command = [
        sys.executable,
        *measured,
        "-m",
        "pytest",
        *map(str, folders),
        "-q",
        f"--junitxml={xml}",
        *NO_SEPARATE_CACHE,
    ]
    engine = {"TEST_DATABASE": name} if name in ENGINES else {}
    return _result(name, xml, run_child([*command, *selection], {"PYTHONPATH": str(ROOT), **engine}))


def _result(name: str, xml: Path, code: int) -> SuiteResult:
    cases = read_junit(name, xml) if xml.exists() else []
    result = SuiteResult(name, cases)
    if code == NOTHING_COLLECTED:
        result.note = "no test matches"
    elif code != 0 and not result.count("failed"):
        # A crash, an error at collection, a process left behind: red, though no single test is.
        text = f"pytest ended with exit code {code}"
        result.cases.append(Case(name, "pytest", "the session itself", "failed", 0, text))
    return result


def read_junit(suite: str, xml: Path) -> list[Case]:
    """Every test of a report; one that errs in its teardown as well as failing is one failed case."""
    cases = [_case(suite, element) for element in ET.parse(xml).iter("testcase")]
    seen: dict[tuple[str, str], Case] = {}
    for case in cases:
        key = (case.group, case.name)
        if key not in seen or case.outcome == "failed":
            seen[key] = case
    return list(seen.values())


def _case(suite: str, element: ET.Element) -> Case:
    # Those of an engine have files of the same name in two folders.
    own = "integration" if suite in ENGINES else r"\w+"
    group = re.sub(rf"^tests\.({own}\.)?", "", element.get("classname", ""))
    name, seconds = element.get("name", ""), float(element.get("time", 0))
    for kind in ("failure", "error"):
        found = element.find(kind)
        if found is not None:
            text = f"{found.text or found.get('message', '')}\n{element.findtext('system-out', '')}"
            return Case(suite, group, name, "failed", seconds, text.strip())
    skipped = element.find("skipped")
    if skipped is not None:
        return Case(suite, group, name, "skipped", seconds, skipped.get("message", ""))
    return Case(suite, group, name, "passed", seconds)
