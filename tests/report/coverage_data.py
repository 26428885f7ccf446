"""Coverage of `app`, in the tests' own process and in every API, worker and beat process that they start."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.report.model import ROOT

# Lines alone: from Python 3.12 on `sys.monitoring` tells them for a tenth more time, where tracing, which branches need,
# takes half as much again.
CONFIG = """\
[run]
source = app
parallel = true
data_file = {data}
concurrency = multiprocessing, thread
sigterm = true
patch = subprocess, fork, _exit
core = {core}
disable_warnings = no-data-collected, module-not-measured, couldnt-parse
[report]
exclude_also =
    if TYPE_CHECKING
    raise NotImplementedError
"""


def command(reports: Path) -> list[str]:
    """What stands between `python` and `-m pytest`."""
    return ["-m", "coverage", "run", f"--rcfile={_config(reports)}"]


def _config(reports: Path) -> Path:
    (reports / "coverage").mkdir(exist_ok=True)
    config = reports / "coverage.ini"
    core = "sysmon" if sys.version_info >= (3, 12) else "ctrace"
    config.write_text(CONFIG.format(data=reports / "coverage" / "data", core=core), encoding="utf-8")
    return config


def collect(reports: Path, kept: Iterable[Path] = ()) -> dict[str, Any] | None:
    """`{percent, packages: [{name, percent, statements, missing}]}` of all suites together, by line; None without data.

    `kept` are the data of earlier runs, which stay as they are. A process that was killed with SIGKILL leaves no data,
    so what only such processes ran counts as not covered.
    """
    earlier = [*map(str, kept)]
    if not earlier and not (reports / "coverage").exists():
        return None
    config, output = _config(reports), reports / "coverage.json"
    _coverage(
        "combine", "-q", f"--rcfile={config}", *(["--keep", *earlier] if earlier else [str(reports / "coverage")])
    )
    # -i: a source file that has gone since, or was generated, is left out rather than all of them.
    _coverage("json", "-q", "-i", f"--rcfile={config}", "-o", str(output))
    if not output.exists():
        return None
    return summarise(json.loads(output.read_text(encoding="utf-8")))


def _coverage(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT, check=False, capture_output=True)


def summarise(data: dict[str, Any]) -> dict[str, Any]:
    packages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path, file in data["files"].items():
        name = "/".join(Path(path).parts[:2]) if Path(path).parent.name != "app" else "app/*.py"
        packages[name].append(file["summary"])
    rows = [{"name": name, **_total(files)} for name, files in sorted(packages.items())]
    whole = _total([file["summary"] for file in data["files"].values()])
    return {"percent": whole["percent"], "packages": rows}


def _total(files: list[dict[str, Any]]) -> dict[str, Any]:
    statements, covered = (sum(file[key] for file in files) for key in ("num_statements", "covered_lines"))
    percent = 100 * covered / statements if statements else 100.0
    return {"percent": percent, "statements": statements, "missing": statements - covered}
