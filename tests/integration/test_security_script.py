"""`security_test.py` on the engines beside PostgreSQL, on which the suite `security` runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import accounts
from tests.support.databases import ENGINE
from tests.support.services import Services, process_environment
from tests.support.stack import Stack

SECONDS = 240.0
SCRIPT = Path(__file__).parents[2] / "security_test.py"


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.skipif(ENGINE == "postgresql", reason="the suite `security` runs it there")
def test_every_check_passes(services: Services, tmp_path: Path) -> None:
    with Stack(services, tmp_path, WEB_UI="true") as stack:
        stack.worker(concurrency=2)
        admin, _ = stack.make_user("admin")
        stack.worker()
        environment = process_environment({"TEST_USERNAME": admin["username"], "TEST_PASSWORD": accounts.PASSWORD})
        command = [sys.executable, str(SCRIPT), stack.url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
