"""Tasks that read files and save artifacts, loaded with TASK_MODULES. A gate is a file that lets a body go on."""

import io
import os
import signal
import time
from pathlib import Path
from typing import Any

from app.celery_app import celery_app
from app.tasks.files import InputFile

NAP = 0.02


@celery_app.task(bind=True, name="tests.read_file")
def read_file(self: Any, file: InputFile, others: list[InputFile] | None = None) -> dict[str, Any]:
    with file.open() as opened:
        lines = sum(1 for _ in opened)
        opened.seek(-2, io.SEEK_END)
        end = opened.read().decode()
    path = file.path()
    return {
        "known": [file.name, file.size, file.sha256, file.content_type],
        "lines": lines,
        "end": end,
        "path": [path.name, len(path.read_bytes()), str(path.parent.parent)],
        "others": [each.name for each in others or ()],
    }


@celery_app.task(bind=True, name="tests.read_later")
def read_later(self: Any, file: InputFile, gate: str) -> str:
    """Wait for the gate, then read the file."""
    while not Path(gate).exists():
        self.update_progress(None)
        time.sleep(NAP)
    return file.path().read_text()


@celery_app.task(bind=True, name="tests.save", offload_result=True)
def save(self: Any, gate: str, then: str = "succeed", name: str = "report.txt") -> Any:
    """Save an artifact, a partial one, and one twice; then wait for the gate, and end as is asked."""
    attempt = self.request.retries + 1
    saved = self.save_artifact(name, f"of attempt {attempt}")
    self.save_artifact("partial.bin", io.BytesIO(bytes(3_000_000)), partial=True)
    self.save_artifact("twice.txt", "first")
    there = Path(gate).with_suffix(".data")
    there.write_bytes(b"second")
    self.save_artifact("twice.txt", there, content_type="text/x-second")
    Path(gate).with_suffix(".saved").touch()
    while not Path(gate).exists():
        self.update_progress(None)
        time.sleep(NAP)
    if then == "fail":
        raise ValueError("as asked")
    if then == "die" and attempt == 1 and not Path(gate).with_suffix(".died").exists():
        Path(gate).with_suffix(".died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "large":
        return "x" * 2_000_000
    return {"artifact": saved}


class _Deadly(io.BytesIO):
    """Bytes whose reader is killed at the read with this number, from 1."""

    def __init__(self, content: bytes, at: int) -> None:
        super().__init__(content)
        self._left = at

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(size)


@celery_app.task(bind=True, name="tests.die_while_saving")
def die_while_saving(self: Any, at: int, partial: bool = False) -> int:
    """The first attempt is killed at that read of what it saves: 1 before the first byte, 99 once all is kept."""
    if self.step("process", os.getpid) == os.getpid():  # a later attempt runs in another one
        self.save_artifact("x.bin", _Deadly(bytes(3_000_000), at), partial=partial)
        os.kill(os.getpid(), signal.SIGKILL)
    return at
