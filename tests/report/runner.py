"""The command behind `run_tests.py`."""

import argparse
import json
import os
import platform
import secrets
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.report import changes, coverage_data, durations, kept_parts, page, pytest_run, sbom, scripts
from tests.report.children import AnotherRun, only_run, stop_on_sigterm
from tests.report.model import REPORTS, Case, Run, SuiteResult
from tests.report.options import OF_PYTEST, SUITES, is_whole, read_options
from tests.report.results import suite_results
from tests.support.patience import VARIABLE as PATIENCE_VARIABLE, measure_patience
from tests.tiers import FURTHER, MARKED, PARTS, Tier

LABEL = {"passed": "ok", "failed": "FAILED", "skipped": "skipped", "absent": "absent"}
# Which one sets for pytest; here the options say what is run, and on which engine.
NOT_PASSED_ON = ("TEST_DATABASE", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
# The patience up to which durations tell of the tests, and not of what else the machine did.
QUIET = 1.3
# Processes of tests took 1.2 times the CPU while they were measured, on Python 3.11 tests of generated examples twice.
COVERAGE_SLOWS = 2


def main(argv: Sequence[str]) -> int:
    """Run, write the page, print the summary; 0 only when something passed and nothing failed."""
    options = read_options(argv)
    if options.install:
        return 0  # .venv is there: it runs this
    stop_on_sigterm()
    for variable in NOT_PASSED_ON:
        os.environ.pop(variable, None)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with only_run(REPORTS):
            return _run_parts(options) if is_whole(options) else _run_once(options.named, options)
    except AnotherRun as error:
        sys.stderr.write(f"run_tests.py: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        _say("stopped: no report was written")
        return 130


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()  # pytest writes to the same terminal from a process of its own


def _run_once(named: Sequence[str], options: argparse.Namespace) -> int:
    """One run: of the default tier, or with --full of everything that was named."""
    _fresh_reports()
    engines = bool(named) or options.full or changes.concern_engines()
    suites = named or (SUITES if options.full else changes.default_suites(SUITES, engines=engines))
    run = _run(suites, options, core=not engines)
    return _finish(run, [] if options.full else _left_out(run, core=not engines))


def _run_parts(options: argparse.Namespace) -> int:
    """The full tier: the parts that were named, else those that have not passed on this commit; all results together."""
    lost = False
    for name in _to_run(options.part):
        _say(f"\n══ part {name} of {', '.join(PARTS)} {'═' * 20}")
        state = kept_parts.state_of_tree()
        _fresh_reports()
        run = _run(PARTS.get(name, [name]), options, MARKED.get(name, ""))
        kept_parts.keep(name, run, REPORTS, state)
        if not kept_parts.is_kept(name):
            _summarise(run, [f"the tree has changed while part {name} ran: its result is not kept"])
            lost = True
    _fresh_reports()
    sbom.write()
    run = kept_parts.merged([*PARTS, *_pieces(FURTHER)], REPORTS)
    missing = [name for name in PARTS if not kept_parts.is_kept(name)]
    told = [f"of the full tier these parts have no result of this commit yet: {', '.join(missing)}"] if missing else []
    return max(_finish(run, told), lost)


def _to_run(named: Sequence[str]) -> list[str]:
    return [name for name in _pieces(named or PARTS) if name in named or not kept_parts.has_passed(name)]


def _pieces(names: Iterable[str]) -> list[str]:
    """`figures` is kept section by section, so that it goes on where it was stopped; `tests.mutants` does so itself."""
    return [piece for name in names for piece in (scripts.FIGURES if name == "figures" else [name])]


def _fresh_reports() -> None:
    """Without what an earlier run left."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    for path in kept_parts.files_of_a_run(REPORTS):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run(suites: Sequence[str], options: argparse.Namespace, marked: str = "", *, core: bool = False) -> Run:
    begun, started = time.monotonic(), datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    sbom.write()
    patience = measure_patience() * (COVERAGE_SLOWS if options.coverage else 1)
    os.environ[PATIENCE_VARIABLE] = f"{patience:.2f}"  # of pytest and of the scripts
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    _say(f"suites: {', '.join(suites)} · --seed {seed} · patience {patience:.2f}")
    tier = Tier.FULL if options.full else Tier.DEFAULT
    # One more in the full tier: a soak of 26 minutes uses a tenth of a core.
    engine_jobs = min(options.jobs, (os.cpu_count() or 1) + options.full)
    chosen = pytest_run.Options(
        options.keyword, tier, options.coverage, options.jobs, engine_jobs, seed, patience, marked, core
    )
    of_pytest = [name for name in suites if name in OF_PYTEST]
    found, flaky = pytest_run.run(of_pytest, REPORTS, chosen)
    results = suite_results(of_pytest, found)
    results += [_script(name, options) for name in suites if name not in OF_PYTEST]
    flaky = [replace(test, started=started) for test in flaky]
    run = Run(results, started, time.monotonic() - begun, _machine(), flaky=flaky)
    disturbed = max(patience, measure_patience()) > QUIET
    if not disturbed and not run.count("failed"):
        durations.write(found, REPORTS / "durations.json")
    run.coverage = coverage_data.collect(REPORTS)
    run.security = _json(REPORTS / "security.json")
    run.performance = _json(REPORTS / "performance.json")
    return run


def _script(name: str, options: argparse.Namespace) -> SuiteResult:
    _say(f"\n── {name} {'─' * (70 - len(name))}")
    begun = time.monotonic()
    if options.keyword:
        return SuiteResult(name, note="-k selects among pytest's tests only")
    try:
        result = scripts.run(name, REPORTS, full=options.full)
    except Exception:  # noqa: BLE001 - the others have a report all the same
        text = f"it could not start:\n{traceback.format_exc()}"
        result = SuiteResult(name, [Case(name, "script", "start", "failed", 0, text)])
    result.seconds = time.monotonic() - begun
    return result


def _machine() -> str:
    version = platform.python_version()
    return f"Python {version} · {platform.system()} {platform.machine()} · {os.cpu_count()} cores"


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _left_out(run: Run, *, core: bool) -> list[str]:
    ran = {suite.name for suite in run.suites}
    absent = [name for name in SUITES if name not in ran]
    more = f", and all of {', '.join(absent)}" if absent else ""
    more += ", and what concerns the schema or another engine alone" if core else ""
    parts = ", ".join(f"--part {name}" for name in PARTS)
    further = " ".join(f"--part {name}" for name in FURTHER)
    told = f"left out: the tests of the full tier{more}: `python3 run_tests.py --full` runs all ({parts})"
    return [f"{told}, and with {further} what takes hours"]


def _finish(run: Run, told: Sequence[str]) -> int:
    (REPORTS / "index.html").write_text(page.render(run, REPORTS), encoding="utf-8", errors="backslashreplace")
    (REPORTS / "flaky.json").write_text(json.dumps([vars(test) for test in run.flaky], indent=1), encoding="utf-8")
    _summarise(run, told)
    return 1 if run.count("failed") or not run.count("passed") else 0


def _summarise(run: Run, told: Sequence[str]) -> None:
    _say(f"\n{'suite':<13}{'state':<9}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>10}")
    for suite in run.suites:
        counts = [suite.count("passed"), suite.count("failed"), suite.count("skipped")]
        row = f"{suite.name:<13}{LABEL[suite.state]:<9}{counts[0]:>8}{counts[1]:>8}{counts[2]:>9}{suite.seconds:>10.1f}"
        _say(f"{row}   {suite.note}".rstrip())
    for case in run.cases("failed"):
        _say(f"FAILED {case.suite}: {case.group} {case.name}")
    for test in run.flaky:
        _say(
            f"flaky {test.suite}: {test.nodeid} (it failed, and passed when it was run again alone: reports/flaky.json)"
        )
    if run.coverage:
        _say(f"coverage of app: {run.coverage['percent']:.1f} % of the lines")
    elif (REPORTS / "coverage.ini").exists():
        _say("coverage of app: could not be read, see reports/coverage")
    if (REPORTS / "durations.json").exists():
        _say("durations: `python -m tests.report.durations` takes those of this run into tests/durations.json")
    for line in told:
        _say(line)
    _say(f"report: {REPORTS / 'index.html'} ({run.seconds:.0f} s in all)")
    _say(f"{run.count('passed')} passed, {run.count('failed')} failed, {run.count('skipped')} skipped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
