"""Which tests run the lines of a mutant, kept in `map.json`: {mutant: [node id]}, the quickest test first."""

import json
import subprocess
import sys
from collections.abc import Iterable

from tests.mutants.mutants import FOLDER, ROOT, Mutant
from tests.report import durations

KEPT = FOLDER / "map.json"
CONFIG = """\
[run]
source = app
parallel = true
dynamic_context = none
data_file = {data}
"""


def read() -> dict[str, list[str]]:
    return json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}


def write(mutants: Iterable[Mutant]) -> None:
    """Run the tests that run in pytest's own process, each under its name, and keep what concerns a mutant's lines."""
    from coverage import CoverageData

    folder = ROOT / "reports" / "map"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "coverage.ini"
    config.write_text(CONFIG.format(data=folder / "data"), encoding="utf-8")
    measured = ["--cov=app", f"--cov-config={config}", "--cov-context=test", "--cov-report="]
    tests = ["tests/unit", "tests/integration", "--tier=default", "-n4", "-q", "-p", "no:cacheprovider"]
    subprocess.run([sys.executable, "-m", "pytest", *tests, *measured], cwd=ROOT, check=False)
    data = CoverageData(str(next(folder.glob("data*"))))
    data.read()
    seconds = {
        f"{file}::{name}": taken
        for suite in ("unit", "integration")
        for file, tests in durations.read().get(suite, {}).items()
        for name, taken in tests.items()
    }
    found = {mutant.name: _tests_of(mutant, data, seconds) for mutant in mutants if mutant.where == ""}
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _tests_of(mutant: Mutant, data: object, seconds: dict[str, float]) -> list[str]:
    contexts = data.contexts_by_lineno(str(ROOT / mutant.file))  # type: ignore[attr-defined]
    names = {name.partition("|")[0] for line in mutant.lines() for name in contexts.get(line, []) if name}
    return sorted(names, key=lambda name: seconds.get(name, 5.0))[:40]
