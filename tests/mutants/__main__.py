"""`python -m tests.mutants`: put each mutant into a copy of the project, and run its tests there until one fails.

python -m tests.mutants                       all that have no result yet for this text of the mutant
python -m tests.mutants no_fence bulk_…       these, anew
python -m tests.mutants --again               all, anew
python -m tests.mutants --map                 with coverage, find out which tests run the lines of which mutant

Results are kept in `reports/mutants.json` after each mutant, so it can be stopped and started again; `run_tests.py` shows
them in its report. Only tests of the default tier count. The exit code is 1 where a mutant was not seen.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from tests.mutants import coverage_map
from tests.mutants.mutants import ROOT, Mutant, read_mutants
from tests.report import recorded

RESULTS = ROOT / "reports" / "mutants.json"
COPIED = ("app", "tests", "alembic", "alembic.ini", "pyproject.toml", "run_server.py", "run_tests.py", "security_test.py",
          "performance_test.py", "requirements.txt", "docs", "README.md", ".env.example")  # fmt: skip
TEST_SECONDS = 600  # of all tests of a mutant; a hang is seen by pytest's own limit
MOST_MAPPED = 40


@dataclass(frozen=True)
class Result:
    """`seen_by` is the first test that failed; `tried` how many ran; `text` its failure, or why it could not be tried."""

    name: str
    breaks: str
    digest: str
    seen_by: str
    tried: int
    seconds: float
    text: str


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--again", action="store_true", help="also those that have a result")
    parser.add_argument("--map", action="store_true", help="write tests/mutants/map.json, by a run with coverage")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    mutants = read_mutants()
    if options.map:
        coverage_map.write(mutants)
        return 0
    results = _kept(mutants)
    chosen = [
        m
        for m in mutants
        if m.name in options.names or (not options.names and (options.again or m.name not in results))
    ]
    if unknown := {*options.names} - {mutant.name for mutant in mutants}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    _run_all(chosen, results, options.jobs)
    unseen = [mutant for mutant in mutants if mutant.name in results and not results[mutant.name].seen_by]
    for mutant in unseen:
        print(f"NOT SEEN {mutant.name}: {mutant.breaks}")
    print(
        f"{len(results) - len(unseen)} of {len(mutants)} mutants seen, {len(unseen)} not, {len(mutants) - len(results)} not tried"
    )
    return 1 if unseen else 0


def _kept(mutants: Sequence[Mutant]) -> dict[str, Result]:
    """Results of an earlier run, of mutants that have not changed."""
    if not RESULTS.exists():
        return {}
    found = {each["name"]: Result(**each) for each in json.loads(RESULTS.read_text(encoding="utf-8"))}
    return {m.name: found[m.name] for m in mutants if m.name in found and found[m.name].digest == m.digest()}


def _run_all(mutants: Sequence[Mutant], results: dict[str, Result], jobs: int) -> None:
    kept = Lock()
    mapped = coverage_map.read()

    def run(mutant: Mutant) -> None:
        result = _run(mutant, mapped.get(mutant.name, []))
        with kept:
            results[mutant.name] = result
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps([asdict(each) for each in results.values()], indent=1), encoding="utf-8")
            told = (
                f"seen by {result.seen_by}"
                if result.seen_by
                else f"NOT SEEN by {result.tried} tests {result.text[-300:]}"
            )
            print(f"{len(results):4} {mutant.name}: {told} ({result.seconds:.0f} s)", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, mutants))


def _run(mutant: Mutant, mapped: Sequence[str]) -> Result:
    begun = time.monotonic()
    groups = [[test] for test in mutant.tests] + ([[*mapped[:MOST_MAPPED]]] if mapped else [])
    tried, seen, text = 0, "", ""
    with _copy(mutant) as folder:
        for tests in groups:
            found, text = _pytest(folder, tests, mutant.engine)
            tried += len(found)
            failed = [test for test in found if test.outcome == "failed"]
            if failed:
                seen, text = failed[0].nodeid, failed[0].text[-2000:]
                break
    return Result(mutant.name, mutant.breaks, mutant.digest(), seen, tried, time.monotonic() - begun, text)


@contextmanager
def _copy(mutant: Mutant) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        for each in COPIED:
            source, target = ROOT / each, folder / each
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.png", "node_modules"))
            else:
                shutil.copy(source, target)
        (folder / mutant.file).write_text(mutant.text(), encoding="utf-8")
        yield folder


def _pytest(folder: Path, tests: Sequence[str], engine: str) -> tuple[list[recorded.Recorded], str]:
    results = folder / "results.json"
    results.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--results={results}",
        "--tier=default",
        *tests,
    ]
    variables = {"TEST_DATABASE": engine, "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
            timeout=TEST_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return [], f"{' '.join(tests)} took longer than {late.timeout:.0f} s"
    found = [test for test in recorded.read(results) if test.outcome != "failed" or "it was not run" not in test.text]
    if not found and done.returncode:  # an import that fails is seen by each test, and a test that ends its process too
        return [recorded.Recorded("", tests[0], "failed", 0, done.stdout + done.stderr)], ""
    return found, "" if found else done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
