"""How long each test takes. A green run that nothing disturbed leaves it in `reports/durations.json`, and
`python -m tests.report.durations [FILE]` takes that into `tests/durations.json`, which the scheduler and the rule of the
budget read. It notes in `tests/flaky.json` the tests that were flaky in the run, with its time.

A run tells {suite: {file: {test: seconds}}} of what passed, and under FIXTURES what the fixtures of these tests took, which
the first one that uses them would seem to take; tests with a marker that decides on their tier stand apart, under "suite marker".
What is kept names the tests that take half a second or more, and counts and adds up the others of each file.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import tiers
from tests.report.changes import BY_PATH
from tests.report.model import REPORTS, ROOT
from tests.report.options import ENGINES
from tests.report.recorded import MARKERS, Recorded
from tests.support.selection import suite_of
from tests.tiers import Tier

KEPT, FLAKY = ROOT / "tests" / "durations.json", ROOT / "tests" / "flaky.json"
NAMED_SECONDS = 0.5
# Of each test that no kept run has had: a new file comes early, so that it is not the one that the others wait for.
UNKNOWN_SECONDS = 5.0
FIXTURES = ""
Measured = dict[str, dict[str, dict[str, float]]]


@dataclass
class FileDurations:
    """Those of a file: `named` by test; `quick` is how many others there are, and `quick_seconds` their sum."""

    named: dict[str, float] = field(default_factory=dict)
    quick: int = 0
    quick_seconds: float = 0.0
    fixtures: float = 0.0

    @classmethod
    def of(cls, tests: Mapping[str, float]) -> "FileDurations":
        named = {name: round(seconds, 1) for name, seconds in sorted(tests.items()) if seconds >= NAMED_SECONDS}
        fixtures = named.pop(FIXTURES, tests.get(FIXTURES, 0.0))
        others = [seconds for name, seconds in tests.items() if name not in {*named, FIXTURES}]
        return cls(named, len(others), round(sum(others), 1), round(fixtures, 1))

    def of_tests(self, names: Iterable[str]) -> float:
        """Return the seconds of these tests; of each that is not known it is a guess."""
        asked = [*names]
        named = [self.named[name] for name in asked if name in self.named]
        others = len(asked) - len(named)
        quick = self.quick_seconds * min(1, others / self.quick) if self.quick else 0.0
        return self.fixtures + sum(named) + quick + UNKNOWN_SECONDS * max(0, others - self.quick)


Kept = dict[str, dict[str, FileDurations]]


def read(path: Path = KEPT) -> Kept:
    found = _json(path)
    return {suite: {file: FileDurations(**each) for file, each in files.items()} for suite, files in found.items()}


def write(tests: Iterable[Recorded], path: Path) -> None:
    found: Measured = {}
    for test in tests:
        file, _, name = test.nodeid.partition("::")
        if name and test.outcome == "passed":
            tests_of_file = found.setdefault(_section(test.suite, test.marker), {}).setdefault(file, {FIXTURES: 0.0})
            tests_of_file[name] = round(test.seconds - test.fixtures, 2)
            tests_of_file[FIXTURES] = round(tests_of_file[FIXTURES] + test.fixtures, 2)
    path.write_text(json.dumps(found), encoding="utf-8")


def merge(paths: Iterable[Path], into: Path) -> None:
    """One file of several runs that had no test in common."""
    found: Measured = {}
    for path in paths:
        for suite, files in _json(path).items():
            for file, tests in files.items():
                found.setdefault(suite, {}).setdefault(file, {}).update(tests)
    into.write_text(json.dumps(found), encoding="utf-8")


def _section(suite: str, marker: str) -> str:
    return f"{suite} {marker}".rstrip()


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def of_tests() -> Callable[[str, str, Iterable[str]], float]:
    """`seconds(engine, file, nodeids)` of these tests of the file; of those that no kept run has had it is a guess."""
    kept = read()

    def seconds(engine: str, file: str, nodeids: Iterable[str]) -> float:
        whole = FileDurations()
        for marker in ("", *MARKERS):
            part = kept.get(_section(suite_of(file, engine), marker), {}).get(file, FileDurations())
            numbers = (getattr(whole, name) + getattr(part, name) for name in ("quick", "quick_seconds", "fixtures"))
            whole = FileDurations({**whole.named, **part.named}, *numbers)
        return whole.of_tests(nodeid.partition("::")[2] for nodeid in nodeids)

    return seconds


def of_default_tier(kept: Kept) -> dict[tuple[str, str], float]:
    """Return the seconds of each test of a default run that concerns no other engine, by section and node id.

    What is quick in a file, and its fixtures, stand under the file's name.
    """
    found: dict[tuple[str, str], float] = {}
    for section, files in kept.items():
        suite, _, marker = section.partition(" ")
        if marker == "full" or suite in BY_PATH:
            continue
        engine = suite if suite in ENGINES else "postgresql"
        for file, durations in files.items():
            listed = file.removeprefix("tests/")
            if not tiers.runs_on(engine, Tier.DEFAULT, listed, core=True):
                continue
            tests = {f"{file}::{name}": seconds for name, seconds in durations.named.items()}
            for nodeid, seconds in {file: durations.quick_seconds + durations.fixtures, **tests}.items():
                listed, every = nodeid.removeprefix("tests/"), marker == "every_engine"
                if tiers.tier_of(listed, engine=engine, every_engine=every).is_in(Tier.DEFAULT):
                    found[section, nodeid] = seconds
    return found


def keep(path: Path, kept: Path = KEPT) -> None:
    """Merge a run's durations, test by test, and forget the tests and files that are gone."""
    durations, measured = read(kept), _json(path)
    _forget(durations, measured)
    for section, files in measured.items():
        for file, tests in files.items():
            known, new = durations.setdefault(section, {}).get(file, FileDurations()), FileDurations.of(tests)
            if new.quick < known.quick and len(tests) < known.quick:  # a run of a few tests tells nothing of the others
                new.quick, new.quick_seconds, new.fixtures = known.quick, known.quick_seconds, known.fixtures
            new.named = {**known.named, **new.named}
            durations[section][file] = new
    kept.write_text(_text(durations), encoding="utf-8")


def _forget(known: Kept, measured: Measured) -> None:
    """Take out what the run has measured again, and what is in no file any more. Tests of another tier stay."""
    again = {
        (_suite(section), file, _function(name))
        for section, files in measured.items()
        for file, tests in files.items()
        for name in tests
    }
    for section, files in known.items():
        for file in [file for file in files if not (ROOT / file).exists()]:
            del files[file]
        for file, durations in files.items():
            written = (ROOT / file).read_text(encoding="utf-8")
            durations.named = {
                name: seconds
                for name, seconds in durations.named.items()
                if (_suite(section), file, _function(name)) not in again
                and all(word in written for word in _defined(_function(name)))
            }


def _suite(section: str) -> str:
    return section.partition(" ")[0]


def _function(name: str) -> str:
    return name.partition("[")[0]


def _defined(function: str) -> list[str]:
    *classes, test = function.split("::")
    return [f"def {test}(", *(f"class {name}" for name in classes)]


def _text(kept: Kept) -> str:
    """A line for each file, so that a change is seen where it is."""
    suites = (
        f"{json.dumps(suite)}: {{\n"
        + ",\n".join(
            f"{json.dumps(file)}: {json.dumps(vars(each), sort_keys=True)}" for file, each in sorted(files.items())
        )
        + "\n}"
        for suite, files in sorted(kept.items())
    )
    return "{" + ",\n".join(suites) + "}\n"


def note_flaky(path: Path) -> None:
    flaky, runs = json.loads(path.read_text(encoding="utf-8")), _json(FLAKY)
    for test in flaky:
        name = f"{test['suite']}: {test['nodeid']}"
        runs[name] = sorted({*runs.get(name, []), test["started"]})
    FLAKY.write_text(json.dumps(runs, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    measured = Path(sys.argv[1]) if len(sys.argv) > 1 else REPORTS / "durations.json"
    if not measured.exists():
        sys.exit(f"{measured} is missing: a run leaves it that is green, and that nothing on the machine disturbed")
    keep(measured)
    note_flaky(measured.with_name("flaky.json"))
