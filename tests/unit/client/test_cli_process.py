"""The process of a command: streams that its caller has closed, and SIGTERM."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from task_service_client.cli import app, main
from tests.support.services import ROOT
from tests.unit.client.conftest import URL, Service

CLOSED = [
    ("ls >&-", 4), ("ls 2>&-", 4), ("ls <&- >&- 2>&-", 4), (f"login {URL} <&-", 2), (f"login {URL} -u u --password-stdin <&-", 2),
    ("delete --query type:x <&-", 4), ("--help >&-", 0),
]  # fmt: skip


@pytest.mark.parametrize(("command", "code"), CLOSED)
def test_closed_streams_are_as_the_null_device(tmp_path: Path, command: str, code: int) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASK_SERVICE")}
    kept |= {"PYTHONPATH": str(ROOT / "client"), "TASK_SERVICE_CONFIG": str(tmp_path), "LC_ALL": "C.UTF-8"}
    program = f"exec {sys.executable} -m task_service_client.cli {command}"
    ran = subprocess.run(["sh", "-c", program], env=kept, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, "Traceback" in ran.stderr) == (code, False)


def test_sigterm_stays_as_the_caller_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(app, "application", lambda: lambda *_, **__: seen.append(signal.getsignal(signal.SIGTERM)))
    thread = threading.Thread(target=main)  # which may set no handler
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [before, signal.SIG_IGN]


def test_sigterm_leaves_no_half_download(signed_in: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = {
        "id": str(uuid4()), "user_id": str(uuid4()), "name": "n", "size": 5, "content_type": "text/csv",
        "created_at": "2026-12-01T08:00:00Z", "sha256": "0" * 64,
    }  # fmt: skip
    seen: list[str] = []

    def answer(_: object, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/content"):
            seen.extend(each.suffix for each in tmp_path.iterdir() if each.is_file())
            signal.raise_signal(signal.SIGTERM)
        return httpx.Response(200, json=file)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main(["files", "download", file["id"], str(tmp_path / "x")])
    assert ended.value.code == 143
    assert seen == [".part"]
    assert [each for each in tmp_path.iterdir() if each.is_file()] == []
    assert signal.getsignal(signal.SIGTERM) is before
