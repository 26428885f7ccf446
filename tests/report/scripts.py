"""The suites that are scripts of their own: `security_test.py` and `performance_test.py`."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.report.children import run_child
from tests.report.model import ROOT, Case, Outcome, SuiteResult

NAMES = ("security", "performance")
# The sections of performance_test.py that take half a minute together; the full tier has all.
IN_EACH_RUN = "submit,batch,read,start,progress"
ADMIN_VARIABLES = ("TEST_USERNAME", "TEST_PASSWORD")


def run(name: str, reports: Path, *, full: bool) -> SuiteResult:
    output = reports / f"{name}.json"
    code = _security(output) if name == "security" else _performance(output, reports, full=full)
    cases = _cases(name, output)
    if code != 0 and not any(case.outcome == "failed" for case in cases):
        text = f"{name}_test.py ended with exit code {code}"
        cases.append(Case(name, "script", f"{name}_test.py", "failed", 0, text))
    return SuiteResult(name, cases)


def _security(output: Path) -> int:
    """Against a server of its own that runs what a deployment runs."""
    from tests.support import accounts
    from tests.support.services import Services
    from tests.support.stack import Stack

    with tempfile.TemporaryDirectory() as directory, Services() as services:
        with Stack(services, Path(directory), WEB_UI="true") as stack:
            admin, _ = stack.make_user("admin")
            credentials = dict(zip(ADMIN_VARIABLES, (admin["username"], accounts.PASSWORD), strict=True))
            code = _script("security_test.py", stack.url, "--json", str(output), env=credentials)
        services.clear_up()
    return code


def _performance(output: Path, reports: Path, *, full: bool) -> int:
    size = ["--requests", "300", "--seconds", "2", *([] if full else ["--only", IN_EACH_RUN])]
    return _script("performance_test.py", "--json", str(output), "--plot", str(reports / "performance.png"), *size)


def _script(name: str, *arguments: str, env: dict[str, str] | None = None) -> int:
    return run_child([sys.executable, str(ROOT / name), *arguments], env)


def _cases(name: str, output: Path) -> list[Case]:
    if not output.exists():
        return []
    data = json.loads(output.read_text(encoding="utf-8"))
    if name == "security":
        return [
            Case(name, row["group"], row["name"], row["outcome"], row["seconds"], row["detail"])
            for row in data["checks"]
        ]
    endpoints = [_case("endpoint", row["name"], row, f"errors: {row['errors']}") for row in data["endpoints"]]
    return endpoints + [_case("section", row["section"], row, "\n".join(row["errors"])) for row in data["sections"]]


def _case(kind: str, name: str, row: dict[str, Any], errors: str) -> Case:
    """A goal that is not reached is told in the table and fails nothing."""
    outcome: Outcome = "failed" if row["errors"] else "passed"
    return Case("performance", kind, name, outcome, row["seconds"], errors if row["errors"] else "")
