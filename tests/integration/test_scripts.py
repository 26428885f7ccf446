"""`security_test.py` and `performance_test.py` against a server that was started by hand, as the README says."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tests.security  # noqa: F401 (registers the checks)
from app.launcher.ports import free_loopback_port
from tests.security.registry import CHECKS
from tests.support import accounts
from tests.support.checkout import copy_of_checkout
from tests.support.services import Services, process_environment
from tests.support.spelling import id_of
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

SECONDS = 240.0  # seen: less than 15 beside three other processes
pytestmark = pytest.mark.timeout(2 * SECONDS)

ADMIN = {"FIRST_ADMIN_USERNAME": "chief", "FIRST_ADMIN_PASSWORD": accounts.PASSWORD}
NO_ADMIN = {"FIRST_ADMIN_PASSWORD": "not the password of anybody"}
LARGE = ("--requests", "2000", "--seconds", "1", "--rounds", "5")
SMALLEST = ("--requests", "1", "--clients", "1", "--seconds", "1", "--rounds", "1")
STOPPED = 130


class ByHand:
    """A clone with an `.env`, and in it `uvicorn app.main:app --reload`, to the letter."""

    def __init__(self, stack: Stack, clone: Path) -> None:
        self.stack, self.clone = stack, clone
        lines = {"APP_ENV": "development", **stack.settings, **ADMIN}
        (clone / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()), encoding="utf-8")
        stack.port = free_loopback_port()
        environment = self.environment(UVICORN_PORT=str(stack.port))
        self.part = Part(
            "api", [sys.executable, "-m", "uvicorn", "app.main:app", "--reload"], clone / "log", environment
        )
        stack.parts.append(self.part)
        self.part.process.start()
        stack.await_answer(self.part)
        wait_for(lambda: stack.sql("SELECT 1 FROM users"), 30, "the first administrator")

    @staticmethod
    def environment(**variables: str) -> dict[str, str]:
        return process_environment({"PYTHONPATH": "", **variables})

    def start(self, script: str, *options: str, **variables: str) -> "subprocess.Popen[str]":
        """As a shell starts it in the background: it would ignore SIGINT, unless it says otherwise."""
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, script, self.stack.url, *options]
        return subprocess.Popen(command, cwd=self.clone, env=self.environment(**variables), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)  # fmt: skip

    def run(self, script: str, *options: str, **variables: str) -> tuple[int, str]:
        process = self.start(script, *options, **variables)
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said

    def interrupted(self, script: str, *options: str, tasks: int, **variables: str) -> tuple[int, str]:
        """Ctrl-C, once there are so many tasks."""
        process = self.start(script, *options, **variables)
        wait_for(lambda: self.count("tasks") >= tasks or process.poll() is not None, 60, "tasks of the script")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said

    def count(self, table: str) -> int:
        return int(self.stack.sql(f"SELECT count(*) FROM {table}")[0][0])

    def stored(self) -> dict[str, Any]:
        """What a visitor may leave behind."""
        keys = "SELECT id FROM api_keys WHERE revoked_at IS NULL"
        logins = "SELECT id FROM login_sessions WHERE revoked_at IS NULL"
        queries = {"users": "SELECT id FROM users", "tasks": "SELECT id FROM tasks", "keys": keys, "logins": logins}
        return {name: sorted(str(row[0]) for row in self.stack.sql(query)) for name, query in queries.items()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_checkout(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def by_hand(services: Services, clone: Path, tmp_path: Path) -> Iterator[ByHand]:
    with Stack(services, tmp_path, WEB_UI="true") as stack:  # as by default: the checks probe the pages as well
        yield ByHand(stack, clone)


class TestWithAnAdministrator:
    def test_all_checks_pass_and_nothing_stays(self, by_hand: ByHand) -> None:
        before = by_hand.stored()
        code, said = by_hand.run("security_test.py")
        passed = f"{len(CHECKS)} checks: {len(CHECKS)} passed, 0 failed"
        assert (code, passed in said, by_hand.stored()) == (0, True, before), said
        assert "left behind" not in said

    def test_nothing_stays_of_a_measurement(self, by_hand: ByHand) -> None:
        by_hand.stack.worker()
        before = by_hand.stored()
        code, said = by_hand.run("performance_test.py", *SMALLEST)
        assert (code, by_hand.stored()) == (0, before), said
        assert "left behind" not in said

    @pytest.mark.parametrize(
        ("script", "options", "tasks"), [("security_test.py", (), 1), ("performance_test.py", LARGE, 20)]
    )
    def test_nothing_stays_after_ctrl_c(
        self, by_hand: ByHand, script: str, options: tuple[str, ...], tasks: int
    ) -> None:
        before = by_hand.stored()
        code, said = by_hand.interrupted(script, *options, tasks=tasks)
        assert (code, by_hand.stored()) == (STOPPED, before), said
        assert said.endswith("stopped\n")


class TestWithoutAnAdministrator:
    @pytest.mark.parametrize(
        ("script", "options", "names"),
        [("security_test.py", (), {"alice", "mallory", "otto", "typist"}), ("performance_test.py", SMALLEST, {"perf"})],
    )
    def test_a_line_names_the_accounts_and_nothing_else_stays(
        self, by_hand: ByHand, script: str, options: tuple[str, ...], names: set[str]
    ) -> None:
        before = by_hand.stored()
        code, said = by_hand.run(script, *options, **NO_ADMIN)
        (line,) = [line for line in said.splitlines() if line.startswith("left behind")]
        left = {
            row[0]: id_of(row[1])
            for row in by_hand.stack.sql("SELECT username, id FROM users WHERE username <> 'chief'")
        }
        assert (code, {name.partition("-")[0] for name in left}) == (0, names), said
        assert all(f"{name} ({user_id})" in line for name, user_id in left.items())
        assert "clearing up ended early" not in said
        assert {**by_hand.stored(), "users": before["users"]} == before
