"""`python -m tests.mutants`: put each mutant into a copy of the project, and run its tests there until one fails.

python -m tests.mutants                       all that have no result yet for this text of the mutant
python -m tests.mutants no_fence bulk_…       these, anew
python -m tests.mutants --again               all, anew

Results are kept in `reports/mutants.json` after each mutant, so it can be stopped and started again; `run_tests.py` shows
them in its report. Only tests of the default tier count, and only those that pass without the break. The exit code is 1 where a mutant was not seen.
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

from tests.mutants.mutants import ROOT, Mutant, read_mutants
from tests.report import recorded
from tests.report.children import stop_on_sigterm

RESULTS = ROOT / "reports" / "mutants.json"
COPIED = ("app", "tests", "alembic", "alembic.ini", "pyproject.toml", "run_server.py", "run_tests.py", "security_test.py",
          "performance_test.py", "requirements.txt", "docs", "README.md", ".env.example")  # fmt: skip
TEST_SECONDS = 600
PAST_ITS_LIMIT = "+ Timeout +"  # pytest-timeout's words
NOT_RUN = "it was not run"


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
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    mutants = read_mutants()
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

    def run(mutant: Mutant) -> None:
        result = _run(mutant)
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


def _run(mutant: Mutant) -> Result:
    begun = time.monotonic()
    tried, seen, text = 0, "", ""
    for test in mutant.tests:
        with _copy(mutant) as folder:
            failed, text = _fails(folder, test, mutant.engine)
        tried += 1
        if not failed:
            continue
        with _copy(None) as folder:
            fails_anyway, _ = _fails(folder, failed, mutant.engine)
        if not fails_anyway:
            seen = failed
            break
        text = f"{failed} fails without the break too"
    return Result(mutant.name, mutant.breaks, mutant.digest(), seen, tried, time.monotonic() - begun, text[-2000:])


@contextmanager
def _copy(mutant: Mutant | None) -> Iterator[Path]:
    """The project with this break; None: as it is."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        for each in COPIED:
            source, target = ROOT / each, folder / each
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
            else:
                shutil.copy(source, target)
        if mutant is not None:
            (folder / mutant.file).write_text(mutant.text(), encoding="utf-8")
        yield folder


def _fails(folder: Path, test: str, engine: str) -> tuple[str, str]:
    """The first test that fails there, with its failure; "" where none does, with what pytest said instead."""
    results = folder / "results.json"
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
        test,
    ]
    variables = {**os.environ, "TEST_DATABASE": engine, "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=TEST_SECONDS
        )
    except subprocess.TimeoutExpired as late:
        return "", f"{test} took longer than {late.timeout:.0f} s"
    said = done.stdout + done.stderr
    if not results.exists() and PAST_ITS_LIMIT in said:  # it has ended the process
        return test, said
    failed = [each for each in recorded.read(results) if each.outcome == "failed" and NOT_RUN not in each.text]
    return (failed[0].nodeid, failed[0].text) if failed else ("", said)


if __name__ == "__main__":
    stop_on_sigterm()
    sys.exit(main(sys.argv[1:]))
