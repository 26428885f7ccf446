"""How long each test takes, kept in `tests/durations.json` from one run to the next: {suite: {file: {test: seconds}}}.

The scheduler takes the longest file first. After a run, `python -m tests.report.durations` merges what it measured, and
notes in `tests/flaky.json` the tests that were flaky in it, with its time.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.report.model import REPORTS, ROOT
from tests.report.recorded import Recorded
from tests.support.selection import suite_of

KEPT, FLAKY = ROOT / "tests" / "durations.json", ROOT / "tests" / "flaky.json"
UNKNOWN_SECONDS = 5.0
Durations = dict[str, dict[str, dict[str, float]]]


def read(path: Path = KEPT) -> Durations:
    found: Durations = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write(tests: Iterable[Recorded], path: Path) -> None:
    found: Durations = {}
    for test in tests:
        file, _, name = test.nodeid.partition("::")
        if name and test.outcome == "passed":
            found.setdefault(test.suite, {}).setdefault(file, {})[name] = round(test.seconds, 2)
    path.write_text(_text(found), encoding="utf-8")


def merge(paths: Iterable[Path], into: Path) -> None:
    """One file of several runs that had no test in common."""
    found: Durations = {}
    for path in paths:
        _add(found, read(path))
    into.write_text(_text(found), encoding="utf-8")


def _add(known: Durations, more: Durations) -> None:
    for suite, files in more.items():
        for file, tests in files.items():
            known.setdefault(suite, {}).setdefault(file, {}).update(tests)


def _text(durations: Durations) -> str:
    """A line for each file, so that a change is seen where it is."""
    suites = (
        f"{json.dumps(suite)}: {{\n"
        + ",\n".join(
            f"{json.dumps(file)}: {json.dumps(tests, sort_keys=True)}" for file, tests in sorted(files.items())
        )
        + "\n}"
        for suite, files in sorted(durations.items())
    )
    return "{" + ",\n".join(suites) + "}\n"


def of_tests() -> Callable[[str, str, Iterable[str]], float]:
    """`seconds(engine, file, nodeids)` of these tests of the file; of those that no kept run has had it is a guess."""
    kept = read()

    def seconds(engine: str, file: str, nodeids: Iterable[str]) -> float:
        tests = kept.get(suite_of(file, engine), {}).get(file, {})
        known = [tests[name] for nodeid in nodeids if (name := nodeid.partition("::")[2]) in tests]
        return sum(known) if known else UNKNOWN_SECONDS

    return seconds


def keep() -> None:
    """Merge the last run's durations, file by file, and count its flaky tests."""
    durations, measured = read(), read(REPORTS / "durations.json")
    flaky = json.loads((REPORTS / "flaky.json").read_text(encoding="utf-8"))
    _add(durations, measured)
    for suite, files in measured.items():
        for file, tests in files.items():
            known = durations[suite][file]
            measured_again = {name.partition("[")[0] for name in tests}
            written = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
            for name in known.keys() - tests.keys():
                function = name.partition("[")[0]
                if function in measured_again or f"def {function.rpartition('::')[2]}(" not in written:
                    del known[name]
    present = {file for files in durations.values() for file in files if (ROOT / file).exists()}
    durations = {suite: {f: t for f, t in files.items() if f in present} for suite, files in durations.items()}
    KEPT.write_text(_text(durations), encoding="utf-8")
    runs: dict[str, list[str]] = json.loads(FLAKY.read_text(encoding="utf-8")) if FLAKY.exists() else {}
    for test in flaky:
        name = f"{test['suite']}: {test['nodeid']}"
        runs[name] = sorted({*runs.get(name, []), test["started"]})
    FLAKY.write_text(json.dumps(runs, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep()
