"""The suites that pytest runs: one session for all of them, and a second run of what failed.

A process of the session serves one engine; `tests/support/scheduling.py` says which tests it gets. A test that fails is
run again when all others have ended, alone, with the same seeds. Where it passes then it counts as passed, and the run
names it as flaky. What `tests/report/recorder.py` calls a broken promise is not run again.
"""

import functools
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.report import coverage_data, recorded
from tests.report.children import run_child
from tests.report.model import ROOT, Flaky
from tests.report.options import ENGINES
from tests.report.recorded import SESSION, Recorded
from tests.support.databases import MariaDB, MySQL
from tests.tiers import Tier

SERVERS = {"mariadb": MariaDB, "mysql": MySQL}
ALONE = "load"  # what else runs at that time would be measured with it, and so would the measuring of coverage
TESTS_FAILED = 1
NOTHING_COLLECTED = 5
MOST_AGAIN = 20  # where more tests fail, a second run would tell nothing
NONE_RAN = "no test of this suite was run: see the session's output for what its processes died of"
MOST_RESTARTS = 10
FEW_FILES = 4  # so many are read by one process before others have started


@dataclass(frozen=True)
class Options:
    """`jobs` is how many processes share PostgreSQL's tests, `engine_jobs` those of each other engine, where PostgreSQL has
    none; `seed` is that of Hypothesis and of the random faults; `marked` is an expression of pytest's `-m`; `core` leaves
    other engines the core of the statements.
    """

    keyword: str | None
    tier: Tier
    coverage: bool
    jobs: int
    engine_jobs: int
    seed: int
    patience: float
    marked: str = ""
    core: bool = False


def run(suites: Sequence[str], reports: Path, options: Options) -> tuple[list[Recorded], list[Flaky]]:
    """All tests of these suites, those that passed at the second try among the passed."""
    absent, present = _absent(suites)
    together = [name for name in present if name != ALONE]
    found = absent
    if together:
        found += _session("tests", _command(together, reports, options), reports, options)
    if ALONE in present:
        found += _session(ALONE, [*_selected([ALONE], options), *nodes(["1*popen"])], reports, options)
    if not options.keyword and not options.marked:  # either may leave nothing of a suite
        ran = {test.suite for test in found}
        empty = [name for name in present if name not in ran and (name != ALONE or options.tier is Tier.FULL)]
        found += [Recorded(name, SESSION, "failed", 0, NONE_RAN, promise=True) for name in empty]
    return _again(found, reports, options)


def _absent(suites: Sequence[str]) -> tuple[list[Recorded], list[str]]:
    """A failure or a skip for each engine without a server here, and the other suites."""
    absent = []
    for name in suites:
        if name in SERVERS and (why := SERVERS[name].why_absent()):
            # A CI has Debian's, or else nobody would notice that it was never tried. It may not reach the other's archive.
            outcome = "failed" if os.environ.get("CI") and name == "mariadb" else "skipped"
            absent.append(Recorded(name, "tests/all", outcome, 0, why, promise=True))  # type: ignore[arg-type]
    return absent, [name for name in suites if name not in {each.suite for each in absent}]


def _command(suites: Sequence[str], reports: Path, options: Options) -> list[str]:
    measured = coverage_data.command(reports) if options.coverage else []
    own = [name for name in suites if name not in ENGINES]
    few = options.keyword is not None and len(files_of(options.keyword)) in range(1, FEW_FILES)
    if few and not {*suites} & {*ENGINES}:
        return [*measured, *_selected(suites, options), "-p", "no:xdist"]
    each = 1 if own or few else options.engine_jobs
    specs = [f"{1 if few else options.jobs}*popen"] if own else []
    specs += [f"{each}*popen//env:TEST_DATABASE={name}" for name in suites if name in ENGINES]
    return [*measured, *_selected(suites, options), *nodes(specs)]


def nodes(specs: Iterable[str]) -> list[str]:
    """xdist's options. Of a process that a test has ended, as a timeout does, the tests go on in another."""
    tx = (part for spec in specs for part in ("--tx", spec))
    return ["--dist", "load", "--max-worker-restart", str(MOST_RESTARTS), *tx]


def _selected(suites: Sequence[str], options: Options) -> list[str]:
    folders = {"integration", "faults"} if {*ENGINES} & {*suites} else set()
    paths = [f"tests/{name}" for name in sorted((folders | {*suites}) - {*ENGINES})]
    if options.keyword and (named := files_of(options.keyword)):
        sys.stdout.write(f"-k: looked for in {len(named)} files, whose name or text has a word of it\n")
        paths = [path for path in named if path.startswith(tuple(f"{folder}/" for folder in paths))] or paths
    chosen = ["-k", options.keyword] if options.keyword else []
    chosen += ["-m", options.marked] if options.marked else []
    chosen += ["--core"] if options.core else []
    return ["-m", "pytest", *paths, "--suites", ",".join(suites), "--tier", options.tier, *chosen]


@functools.cache
def files_of(keyword: str) -> list[str]:
    """The files that may have a test which matches: to collect all takes ten seconds and more. Empty: it may be any.

    `-k` looks at names of files, classes and tests, and at parameters. A word that stands in no file may be a parameter
    that one makes.
    """
    words = {word.lower() for word in re.findall(r"\w+", keyword)} - {"and", "or"}
    if "not" in words or not words:
        return []
    paths = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    texts = {path: f"{path} {(ROOT / path).read_text(encoding='utf-8')}".lower() for path in paths}
    if any(all(word not in text for text in texts.values()) for word in words):
        return []
    return [path for path, text in texts.items() if any(word in text for word in words)]


def _session(name: str, command: Sequence[str], reports: Path, options: Options) -> list[Recorded]:
    """Run pytest; what its results say, and one more failure where it ended for another reason."""
    results = reports / f"{name}.json"
    results.unlink(missing_ok=True)
    common = [
        *("-q", "-p", "no:cacheprovider", f"--results={results}"),
        *(f"--hypothesis-seed={options.seed}", f"--timeout={round(120 * options.patience)}"),
    ]
    variables = {"PYTHONPATH": str(ROOT), "SOAK_SEED": str(options.seed)}
    code = run_child([sys.executable, *command, *common], variables)
    found = recorded.read(results)
    failed = any(test.outcome == "failed" for test in found)
    if results.exists() and (code in {0, NOTHING_COLLECTED} or (code == TESTS_FAILED and failed)):
        return found
    return [*found, Recorded("", SESSION, "failed", 0, f"pytest ended with exit code {code}", promise=True)]


def _again(found: list[Recorded], reports: Path, options: Options) -> tuple[list[Recorded], list[Flaky]]:
    candidates = [test for test in found if test.outcome == "failed" and not test.promise]
    if len(candidates) > MOST_AGAIN:
        sys.stdout.write(f"{len(candidates)} tests failed, more than {MOST_AGAIN}: they are not run again\n")
    if not candidates or len(candidates) > MOST_AGAIN:
        return found, []
    second = {(test.suite, test.nodeid): test for test in _run_again(candidates, reports, options)}
    flaky, merged = [], []
    for test in found:
        again = second.get((test.suite, test.nodeid))
        if again is None or test not in candidates:
            merged.append(test)
        elif again.outcome == "passed":
            flaky.append(Flaky(test.suite, test.nodeid, test.text, again.text))
            merged.append(replace(again, text=""))
        else:
            merged.append(replace(test, text=f"{test.text}\n── run again, alone\n{again.text}"))
    merged += [test for test in second.values() if test.nodeid == SESSION]
    return merged, flaky


def _run_again(tests: Iterable[Recorded], reports: Path, options: Options) -> list[Recorded]:
    """Each alone, in one process for each engine."""
    by_engine: dict[str, list[Recorded]] = {}
    for test in tests:
        by_engine.setdefault(test.suite if test.suite in ENGINES else "", []).append(test)
    found = []
    for engine, chosen in by_engine.items():
        only = reports / f"again-{engine or 'postgresql'}-list.json"
        only.write_text(json.dumps([(test.suite, test.nodeid) for test in chosen]), encoding="utf-8")
        files = sorted({test.nodeid.partition("::")[0] for test in chosen})
        spec = f"1*popen//env:TEST_DATABASE={engine}" if engine else "1*popen"
        command = ["-m", "pytest", *files, "--only", str(only), *nodes([spec])]
        found += _session(f"again-{engine or 'postgresql'}", command, reports, options)
    return found
