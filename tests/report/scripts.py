"""The suites that are commands of their own: `security_test.py`, `performance_test.py` and `python -m tests.mutants`."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.performance.sections import NAMES as SECTIONS
from tests.report.children import run_child
from tests.report.model import ROOT, Case, Outcome, SuiteResult

MUTANTS = "mutants"
# A section of `performance_test.py --full` is a suite `figures-SECTION`.
FIGURES = tuple(f"figures-{section}" for section in ("endpoints", *SECTIONS))
# The sections of performance_test.py that take half a minute together; the full tier has all.
IN_EACH_RUN = "submit,batch,read,start,progress"
SMALL = ("--requests", "300", "--seconds", "2")
ADMIN_VARIABLES = ("TEST_USERNAME", "TEST_PASSWORD")


def run(name: str, reports: Path, *, full: bool) -> SuiteResult:
    """`reports` gets its figures as JSON and as pictures."""
    command, code = _command(name, reports, full=full)
    cases = _cases(name, reports)
    if not cases or (code != 0 and not any(case.outcome == "failed" for case in cases)):
        text = f"{command} ended with exit code {code}, and told of {len(cases)} results"
        cases.append(Case(name, "script", command, "failed", 0, text))
    return SuiteResult(name, cases)


def _command(name: str, reports: Path, *, full: bool) -> tuple[str, int]:
    """Its name, and its exit code."""
    if name == "security":
        return "security_test.py", _security(reports / "security.json")
    if name == MUTANTS:
        return "tests.mutants", run_child([sys.executable, "-m", "tests.mutants"])
    section = name.partition("-")[2]
    size = ["--full", "--only", section] if section else [*SMALL, *([] if full else ["--only", IN_EACH_RUN])]
    written = ["--json", str(reports / "performance.json"), "--plot", str(reports / "performance.png")]
    return "performance_test.py", _script("performance_test.py", *written, *size)


def _security(output: Path) -> int:
    """Against a server of its own that runs what a deployment runs."""
    from tests.support import accounts
    from tests.support.services import Services
    from tests.support.stack import Stack

    services = Services()
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            services,
            Stack(services, Path(directory), WEB_UI="true") as stack,
        ):
            admin, _ = stack.make_user("admin")
            stack.worker()
            credentials = dict(zip(ADMIN_VARIABLES, (admin["username"], accounts.PASSWORD), strict=True))
            code = _script("security_test.py", stack.url, "--json", str(output), env=credentials)
    finally:
        services.clear_up_or_raise()
    return code


def _script(name: str, *arguments: str, env: dict[str, str] | None = None) -> int:
    return run_child([sys.executable, str(ROOT / name), *arguments], env)


def _cases(name: str, reports: Path) -> list[Case]:
    output = reports / f"{'performance' if name in FIGURES else name}.json"
    if not output.exists():
        return []
    data = json.loads(output.read_text(encoding="utf-8"))
    if name == "security":
        return [
            Case(name, row["group"], row["name"], row["outcome"], row["seconds"], row["detail"])
            for row in data["checks"]
        ]
    if name == MUTANTS:
        return [
            Case(name, "seen by", row["name"], "passed" if row["seen_by"] else "failed", row["seconds"], row["breaks"])
            for row in data
        ]
    endpoints = [_case(name, "endpoint", row["name"], row, f"errors: {row['errors']}") for row in data["endpoints"]]
    return endpoints + [
        _case(name, "section", row["section"], row, "\n".join(row["errors"])) for row in data["sections"]
    ]


def _case(suite: str, kind: str, name: str, row: dict[str, Any], errors: str) -> Case:
    """A goal that is not reached is told in the table and fails nothing."""
    outcome: Outcome = "failed" if row["errors"] else "passed"
    return Case(suite, kind, name, outcome, row["seconds"], errors if row["errors"] else "")
