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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from tests.mutants.mutants import ROOT, Mutant, read_mutants
from tests.report import recorded
from tests.report.children import stop_on_sigterm
from tests.report.recorded import Recorded

RESULTS = ROOT / "reports" / "mutants.json"
COPIED = ("app", "client", "tests", "alembic", "alembic.ini", "pyproject.toml", "run_server.py", "run_tests.py", "security_test.py",
          "performance_test.py", "requirements.txt", "docs", "README.md", ".env.example")  # fmt: skip
TEST_SECONDS = 600
PAST_ITS_LIMIT = "+ Timeout +"  # pytest-timeout's words


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
    try:
        found = {each["name"]: Result(**each) for each in json.loads(RESULTS.read_text(encoding="utf-8"))}
    except (ValueError, TypeError) as error:
        print(f"{RESULTS} is not used, since it cannot be read: {error}")
        return {}
    return {m.name: found[m.name] for m in mutants if m.name in found and found[m.name].digest == m.digest()}


def _run_all(mutants: Sequence[Mutant], results: dict[str, Result], jobs: int) -> None:
    keeping = Lock()
    sessions = Sessions()

    def run(mutant: Mutant) -> None:
        result = _run(mutant, sessions)
        with keeping:
            results[mutant.name] = result
            _write(results)
            seen = (
                f"seen by {result.seen_by}"
                if result.seen_by
                else f"NOT SEEN by {result.tried} tests {result.text[-300:]}"
            )
            print(f"{len(results):4} {mutant.name}: {seen} ({result.seconds:.0f} s)", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for each in [pool.submit(run, mutant) for mutant in mutants]:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            sessions.stop()
            raise


def _write(results: dict[str, Result]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    new = RESULTS.with_suffix(".new")
    new.write_text(json.dumps([asdict(each) for each in results.values()], indent=1), encoding="utf-8")
    new.replace(RESULTS)


def _run(mutant: Mutant, sessions: "Sessions") -> Result:
    begun = time.monotonic()
    tried, seen, text = 0, "", ""
    try:
        mutant.text()
    except ValueError as error:
        return Result(mutant.name, mutant.breaks, mutant.digest(), "", 0, 0, str(error))
    with _copy(mutant) as broken, _copy(None) as whole:
        for test in mutant.tests:
            failed, text = sessions.first_failure(broken, test, mutant.engine)
            tried += 1
            if not failed:
                continue
            # Once more with the break: a test that fails now and then has seen nothing.
            if not sessions.passes(whole, failed, mutant.engine):
                text = f"{failed} does not pass without the break"
            elif not sessions.first_failure(broken, failed, mutant.engine)[0]:
                text = f"{failed} passes with the break at the second time"
            else:
                seen = failed
                break
    return Result(mutant.name, mutant.breaks, mutant.digest(), seen, tried, time.monotonic() - begun, text[-2000:])


@contextmanager
def _copy(mutant: Mutant | None) -> Iterator[Path]:
    """The project with this break; None: as it is. What was compiled is copied too: it holds by the times of the files."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        for each in COPIED:
            source, target = ROOT / each, folder / each
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.png"))
            else:
                shutil.copy2(source, target)
        if mutant is not None:
            (folder / mutant.file).write_text(mutant.text(), encoding="utf-8")
        yield folder


class Sessions:
    """Sessions of pytest in copies of the project, of several threads. After `stop()` none begins, and none has a result."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def first_failure(self, folder: Path, test: str, engine: str) -> tuple[str, str]:
        """The first test that fails there, with its failure; "" where none does, with what pytest said instead.

        Raises Stopped.
        """
        said, tests = self._run(folder, test, engine)
        if tests is None:
            # pytest-timeout has ended the process.
            return (test if PAST_ITS_LIMIT in said else ""), said
        failed = [each for each in tests if each.outcome == "failed" and not each.not_run]
        return (failed[0].nodeid, failed[0].text) if failed else ("", said)

    def passes(self, folder: Path, test: str, engine: str) -> bool:
        """Whether it was run, and passed; of a file or a class that no test fails."""
        _, tests = self._run(folder, test, engine)
        outcomes = {each.outcome for each in tests or [] if each.nodeid.startswith(test)}
        return "passed" in outcomes and "failed" not in outcomes

    def _run(self, folder: Path, test: str, engine: str) -> tuple[str, list[Recorded] | None]:
        """What pytest said, and what became of the tests; None where it ended before it could tell."""
        results = folder / "results.json"
        results.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--results={results}", "--tier=default", test]  # fmt: skip
        variables = {**os.environ, "TEST_DATABASE": engine, "PYTHONPATH": str(folder)}
        said = self._output(command, folder, variables)
        if said is None:
            return f"{test} took longer than {TEST_SECONDS} s", None
        return said, recorded.read(results) if results.exists() else None

    def _output(self, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> str | None:
        """None where it took too long."""
        if self._stopped:
            raise Stopped
        # In a session of its own: a Ctrl-C would reach it, and its end would look as if no test had failed.
        with subprocess.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        ) as child:  # fmt: skip
            self._running.add(child)
            try:
                said, _ = child.communicate(timeout=TEST_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()  # the reaper of its services ends the rest
                return None
            finally:
                self._running.discard(child)
        if self._stopped:
            raise Stopped
        return said

    def stop(self) -> None:
        self._stopped = True
        for child in [*self._running]:
            child.send_signal(signal.SIGINT)


class Stopped(Exception):
    """The run was stopped meanwhile: what a session came to says nothing."""


if __name__ == "__main__":
    stop_on_sigterm()
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("stopped: the results so far are kept", flush=True)
        code = 130
    sys.exit(code)
