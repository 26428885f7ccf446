"""Results of the parts of the full tier, kept in `reports/full/` until the next commit, so that they may run one by one."""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tests.report.model import REPORTS, ROOT, Case, Flaky, Run, SuiteResult

FOLDER = REPORTS / "full"
OF_THIS_PROCESS = str(time.time_ns())


def keep(name: str, run: Run, state: str) -> None:
    """`state` is that of the tree when the run began."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = {"state": state, **asdict(run)}
    (FOLDER / f"{name}.json").write_text(json.dumps(kept), encoding="utf-8")


def is_kept(name: str) -> bool:
    return _read(name) is not None


def merged(names: Iterable[str]) -> Run:
    """All that is kept of this commit, as one run; nothing where the tree has changed meanwhile."""
    found = [each for name in names if (each := _read(name)) is not None]
    suites = [
        SuiteResult(**{**suite, "cases": [Case(**case) for case in suite["cases"]]})
        for each in found for suite in each["suites"]
    ]  # fmt: skip
    started, machine = (found[0]["started"], found[-1]["machine"]) if found else ("", "")
    run = Run(suites, started, sum(each["seconds"] for each in found), machine)
    run.flaky = [Flaky(**test) for each in found for test in each["flaky"]]
    for each in found:
        run.security = each["security"] or run.security
        run.performance = each["performance"] or run.performance
    return run


def _read(name: str) -> dict[str, Any] | None:
    path = FOLDER / f"{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return kept if kept is not None and kept["state"] == state_of_tree() else None


def state_of_tree() -> str:
    """The commit and what was changed since; without git each process has a state of its own."""
    try:
        commit, changed, new = (
            subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["diff", "HEAD"], ["ls-files", "-o", "--exclude-standard"])
        )
    except (OSError, subprocess.CalledProcessError):
        return OF_THIS_PROCESS
    texts = [changed.encode(), *((ROOT / path).read_bytes() for path in new.splitlines())]
    return f"{commit.strip()} {hashlib.sha256(bytes(1).join(texts)).hexdigest()}"
