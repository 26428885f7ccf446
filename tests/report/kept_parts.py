"""Results of the parts of the full tier, kept in `reports/full/` until the next commit, so that they may run one by one.

A part has a folder there: `result.json`, and all files that its run left in `reports/`.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.report import coverage_data, durations
from tests.report.model import REPORTS, ROOT, Case, Flaky, Run, SuiteResult

FOLDER = REPORTS / "full"
# Byte for byte, whatever git's settings of this user say.
DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD")
NEW_FILES = ("ls-files", "-z", "-o", "--exclude-standard")
OF_THIS_PROCESS = str(time.time_ns())


def keep(name: str, run: Run, reports: Path, state: str) -> None:
    """`state` is that of the tree when the run began."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in files_of_a_run(reports):
        shutil.move(path, folder / path.name)
    (folder / "result.json").write_text(json.dumps({"state": state, **asdict(run)}), encoding="utf-8")


def has_passed(name: str) -> bool:
    """A part all of which was skipped, since its server is missing here, has not."""
    kept = _read(name) or {"suites": []}
    outcomes = {case["outcome"] for suite in kept["suites"] for case in suite["cases"]}
    return "passed" in outcomes and "failed" not in outcomes


def files_of_a_run(reports: Path) -> list[Path]:
    """What is in `reports/`, but for the results of parts and mutants, which later runs read."""
    return [path for path in reports.iterdir() if path.name not in {FOLDER.name, "mutants.json"}]


def is_kept(name: str) -> bool:
    return _read(name) is not None


def merged(names: Iterable[str], reports: Path) -> Run:
    """All that is kept of this commit, as one run and its files; nothing where the tree has changed meanwhile."""
    kept = {FOLDER / name: each for name in names if (each := _read(name)) is not None}
    found = [*kept.values()]
    suites: dict[str, SuiteResult] = {}
    for suite in (suite for each in found for suite in each["suites"]):
        known = suites.setdefault(suite["name"], SuiteResult(suite["name"], note=suite["note"]))
        known.cases += [Case(**case) for case in suite["cases"]]
        known.seconds += suite["seconds"]
    started, machine = (found[0]["started"], found[-1]["machine"]) if found else ("", "")
    run = Run([*suites.values()], started, sum(each["seconds"] for each in found), machine)
    run.flaky = [Flaky(**test) for each in found for test in each["flaky"]]
    for each in found:
        run.security = each["security"] or run.security
        run.performance = _with_sections(run.performance, each["performance"])
    measured = {folder: data for folder in kept if (data := folder / "coverage" / "data").exists()}
    run.coverage = coverage_data.collect(reports, [*measured.values()])
    if run.coverage is not None:
        run.coverage["parts"] = [folder.name for folder in measured]
    durations.merge([folder / "durations.json" for folder in kept], reports / "durations.json")
    for path in (path for folder in kept for path in (*folder.glob("*.png"), folder / "security.json")):
        if path.exists():
            shutil.copy(path, reports)
    if run.performance is not None:
        (reports / "performance.json").write_text(json.dumps(run.performance), encoding="utf-8")
    return run


def _with_sections(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    """The figures of both; what both measured is as the second did."""
    if first is None or second is None:
        return first or second
    sections = {section["section"]: section for each in (first, second) for section in each["sections"]}
    return {**first, **second, "endpoints": second["endpoints"] or first["endpoints"], "sections": [*sections.values()]}


def _read(name: str) -> dict[str, Any] | None:
    try:
        kept = json.loads((FOLDER / name / "result.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # it has not run, or was killed while it wrote
        return None
    return kept if kept["state"] == state_of_tree() else None


def state_of_tree() -> str:
    """The commit, what was changed since, and the Python; without git each process has a state of its own."""
    tree = ["--", ".", *(f":!{path.relative_to(ROOT)}" for path in (durations.KEPT, durations.FLAKY))]
    try:
        commit, changed, new = (
            subprocess.run(["git", *command], cwd=ROOT, capture_output=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], [*DIFF, *tree], [*NEW_FILES, *tree])
        )
    except (OSError, subprocess.CalledProcessError):
        return OF_THIS_PROCESS
    files = [ROOT / os.fsdecode(path) for path in new.split(bytes(1)) if path]
    texts = [changed, *(part for file in files if file.is_file() for part in (bytes(file), file.read_bytes()))]
    return f"{commit.decode().strip()} {platform.python_version()} {hashlib.sha256(bytes(1).join(texts)).hexdigest()}"
