"""The command behind `run_tests.py`."""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.report import coverage_data, page, pytest_suites, sbom, scripts
from tests.report.children import stop_on_sigterm
from tests.report.model import REPORTS, Run, SuiteResult

SUITES = (*pytest_suites.NAMES, *scripts.NAMES)
# Many tests wait: twice as many as cores keep them busy. Each has a PostgreSQL and a Valkey of its own.
JOBS = min(4, 2 * (os.cpu_count() or 1))
LABEL = {"passed": "ok", "failed": "FAILED", "skipped": "skipped", "absent": "absent"}


def main(argv: Sequence[str]) -> int:
    """Run, write the page, print the summary; 0 only when something passed and nothing failed."""
    options = _parser().parse_args(argv)
    if options.list:
        _say("suites: " + ", ".join(SUITES))
        return 0
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir()
    sbom.write()
    stop_on_sigterm()
    begun = time.monotonic()
    started = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    try:
        suites = [_run(name, options) for name in options.suites + options.suite or SUITES]
    except KeyboardInterrupt:
        _say("stopped: no report was written")
        return 130
    run = Run(suites, started, time.monotonic() - begun, _machine())
    run.coverage = coverage_data.collect(REPORTS)
    run.security = _json(REPORTS / "security.json")
    run.performance = _json(REPORTS / "performance.json")
    (REPORTS / "index.html").write_text(page.render(run, REPORTS), encoding="utf-8")
    _summarise(run)
    return 1 if run.count("failed") or not run.count("passed") else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()  # pytest writes to the same terminal from a process of its own


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_tests.py", description="Runs every suite against services of its own and writes reports/index.html."
    )
    parser.add_argument("suites", nargs="*", type=_suite, metavar="SUITE", help=f"only these: {', '.join(SUITES)}")
    parser.add_argument("--suite", action="append", default=[], choices=SUITES, help="the same; may be repeated")
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="only tests that match, as pytest's -k")
    parser.add_argument("--full", action="store_true", help="the long tests as well: soaks, growth, five-run medians")
    parser.add_argument("--coverage", action="store_true", help="measure coverage too: half as long again")
    parser.add_argument(
        "--jobs", type=int, default=JOBS, metavar="N", help=f"processes that share the tests of a suite ({JOBS})"
    )
    parser.add_argument("--list", action="store_true", help="name the suites and end; .venv is made all the same")
    return parser


def _suite(name: str) -> str:
    if name not in SUITES:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(SUITES)}")
    return name


def _run(name: str, options: argparse.Namespace) -> SuiteResult:
    _say(f"\n── {name} {'─' * (70 - len(name))}")
    begun = time.monotonic()
    if name in pytest_suites.NAMES:
        chosen = pytest_suites.Options(options.keyword, options.full, options.coverage, options.jobs)
        result = pytest_suites.run(name, REPORTS, chosen)
    elif options.keyword:
        result = SuiteResult(name, note="-k selects among pytest's tests only")
    else:
        result = scripts.run(name, REPORTS, options.full)
    result.seconds = time.monotonic() - begun
    if result.note:
        _say(f"{name}: {result.note}")
    return result


def _machine() -> str:
    version = platform.python_version()
    return f"Python {version} · {platform.system()} {platform.machine()} · {os.cpu_count()} cores"


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _summarise(run: Run) -> None:
    _say(f"\n{'suite':<13}{'state':<9}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>10}")
    for suite in run.suites:
        counts = [suite.count("passed"), suite.count("failed"), suite.count("skipped")]
        row = f"{suite.name:<13}{LABEL[suite.state]:<9}{counts[0]:>8}{counts[1]:>8}{counts[2]:>9}{suite.seconds:>10.1f}"
        _say(f"{row}   {suite.note}".rstrip())
    for case in run.cases("failed"):
        _say(f"FAILED {case.suite}: {case.group} {case.name}")
    if run.coverage:
        _say(f"coverage of app: {run.coverage['percent']:.0f} %")
    elif (REPORTS / "coverage.ini").exists():
        _say("coverage of app: could not be read, see reports/coverage")
    _say(f"report: {REPORTS / 'index.html'} ({run.seconds:.0f} s in all)")
    _say(f"{run.count('passed')} passed, {run.count('failed')} failed, {run.count('skipped')} skipped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
