"""The receiver of docs/webhooks.md in Express takes what the service signs, and nothing else.

The FastAPI one is run by test_documents_run.py. The framework is installed into a folder of the test.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from app.core.host_rules import HostRules
from app.core.signatures import decode_secret, encode_secret
from app.launcher.ports import free_loopback_port
from app.launcher.processes import ManagedProcess
from app.outbound import Bounds, Client
from app.outbound.targets import Policy
from app.services.webhooks.queue import Message, Outcome, send
from tests.support.pages import Page
from tests.support.tools import needs_program
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)

SECRET, OTHER = encode_secret(bytes(range(32))), encode_secret(bytes(32))
BODY = '{"type":"webhook.test","timestamp":"2026-11-24T12:00:00Z","data":{"id":"数据"}}'.encode()
SECONDS = 30.0
INSTALL_SECONDS = 300

Send = Callable[..., Outcome]


def program(file: str) -> str:
    (found,) = (block.text for block in Page("webhooks.md").blocks if block.file == file)
    return found


def install(folder: Path, *command: str) -> None:
    """Skips the test where the registry cannot be reached."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} cannot install what the receiver needs: {done.stderr[-300:]}")


@pytest.fixture
def express(tmp_path: Path) -> Iterator[tuple[ManagedProcess, int]]:
    port = free_loopback_port()
    install(tmp_path, "npm", "install", "--no-fund", "--no-audit", "express", "standardwebhooks")
    (tmp_path / "receiver.mjs").write_text(program("receiver.mjs"), encoding="utf-8")
    yield from running(tmp_path, [shutil.which("node") or "node", "receiver.mjs"], {"PORT": str(port)}, port)


def running(
    folder: Path, command: list[str], more: dict[str, str], port: int
) -> Iterator[tuple[ManagedProcess, int]]:  # fmt: skip
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**kept, "PYTHONUTF8": "1", "SECRET": SECRET, **more}
    process = ManagedProcess(command, log=folder / "log", env=environment, cwd=folder)
    process.start()
    try:
        yield process, port
    finally:
        process.kill()


def takes_what_is_genuine(process: ManagedProcess, port: int) -> None:
    client = Client(Policy(allowed=HostRules.of(["127.0.0.0/8"])), Bounds(seconds=10, max_redirects=0))
    url = f"http://127.0.0.1:{port}/hooks"

    def status(*secrets: str, body: bytes = BODY) -> int | None:
        return send(client, Message(url, uuid4(), body, [decode_secret(each) for each in secrets])).status

    wait_for(lambda: not process.running or status(SECRET) is not None, SECONDS, "the receiver to answer")
    assert process.running, process.log.read_text(encoding="utf-8")
    assert status(SECRET) == 204, process.log.read_text(encoding="utf-8")
    assert status(OTHER, SECRET) == 204, "while the secret is rotated"
    assert status(OTHER) == 400
    assert "webhook.test 数据" in process.log.read_text(encoding="utf-8")


@needs_program("node")
@needs_program("npm")
def test_express_with_the_package_of_npm(express: tuple[ManagedProcess, int]) -> None:
    takes_what_is_genuine(*express)
