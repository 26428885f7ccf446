"""One run of schemathesis against a stack that is up, in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.live import watcher
from app.services.accounts import login_throttle
from tests.support.bounds import bounded
from tests.support.databases import ENGINE
from tests.support.services import process_environment
from tests.support.stack import Stack

CONFIG = Path(__file__).with_name("schemathesis.toml")
ALL_PHASES = "examples,coverage,fuzzing,stateful"
# Nobody may be throttled: every guess and every login comes from one address.
# A stream ends at once here: schemathesis reads an answer to its end.
THROTTLES = ("FAILURES_PER_ACCOUNT", "FAILURES_PER_ADDRESS", "LOGINS_PER_ACCOUNT", "LOGINS_PER_ADDRESS",
             "CHANGES_PER_USER")  # fmt: skip
ROOM = {login_throttle: dict.fromkeys(THROTTLES, 1_000_000)}
SETTINGS = {"LOGIN_ATTEMPTS": "1000000", **bounded({**ROOM, watcher: {"MAX_SECONDS": 0.05}})}


@dataclass(frozen=True)
class Findings:
    """What it printed, and its report."""

    code: int
    output: str
    report: dict[str, Any]

    @property
    def never_reached(self) -> set[str]:
        """Operations of which no well-formed request got as far as an answer or a conflict: they were not tested."""
        rates = self.report["valid_rates"]
        got_through = {
            name for name, phases in rates.items() for each in phases.values() if each["accepted"] or each["conflicts"]
        }
        return rates.keys() - got_through


def explore(stack: Stack, role: str, *, seed: int, examples: int, seconds: int, phases: str = ALL_PHASES) -> Findings:
    """Every operation of the stack's own OpenAPI document, called as a user of this role."""
    report = stack.directory / f"conformance-{role}.json"
    bounds = ["--seed", str(seed), "--max-examples", str(examples), "--request-timeout", "60", "--continue-on-failure"]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{stack.url}/openapi.json"),
        *(*bounds, "--phases", phases, "--no-color", "--report", "json", "--report-json-path", str(report)),
    ]
    done = subprocess.run(
        command, env=_environment(stack, role), cwd=stack.directory, timeout=seconds,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    read = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return Findings(done.returncode, done.stdout, read)


def _environment(stack: Stack, role: str) -> dict[str, str]:
    named = {
        "CONFORMANCE_URL": stack.url,
        "CONFORMANCE_DATABASE_URL": stack.database_url,
        "CONFORMANCE_ROLE": role,
        "SCHEMATHESIS_HOOKS": "tests.support.conformance.hooks",
        "TEST_DATABASE": ENGINE,
    }
    # Coverage of `app` is measured in the server; here it would only slow the client down.
    ours = {name: value for name, value in process_environment(named).items() if not name.startswith("COV")}
    return {**ours, "PATH": os.environ["PATH"]}
