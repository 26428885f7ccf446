"""Files up and down beside a bare Starlette application on the same uvicorn, and what the API process's memory grows by."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from tests.performance.bench import QUIET, Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.support.running import Running

FILES = "/api/v1/files/"
PIECE = 1024 * 1024
MIB = 1024 * 1024


def measure(bench: Bench) -> Findings:
    findings = Findings("files")
    size = bench.size.file_bytes
    path = bench.directory / "content"
    with path.open("wb") as file:
        for _ in range(size // PIECE):
            file.write(os.urandom(PIECE))
    part, address = bench.http_server("plain_files", {"PLAIN_FILE": str(path)}, *QUIET)
    assert part.running
    with bench.new_stack(MAX_FILE_BYTES=str(size + 1)) as stack:
        server = stack.server(options=QUIET)
        running = Running(stack)
        token = running.http.headers["Authorization"]
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        ups, downs = [], []
        with (
            httpx.Client(base_url=stack.url, headers={"Authorization": token}, timeout=600) as ours,
            httpx.Client(base_url=f"http://{address.host}:{address.port}", timeout=600) as bare,
        ):
            for _ in range(max(3, bench.size.rounds)):
                up = _seconds(lambda: _send(ours, FILES, path))
                ups.append(ratio(_seconds(lambda: _send(bare, "/files", path)), up))
                newest = ours.get(FILES).json()[0]["id"]
                down = _seconds(lambda: _read(ours, f"{FILES}{newest}/content", size))  # noqa: B023 (called at once)
                downs.append(ratio(_seconds(lambda: _read(bare, "/content", size)), down))
                ours.delete(f"{FILES}{newest}")
        grown = (process.memory_info().rss - before) / MIB
    of = f"{size / MIB:,.0f} MiB"
    findings.compare(f"an upload of {of}, bytes a second", "Starlette's form parser", Goal(at_least=0.8), ups)
    findings.compare(f"a download of {of}, bytes a second", "FileResponse", Goal(at_least=0.5), downs)
    findings.compare("memory of the API process by then", "before", Goal(at_most=32, unit="MiB more"), [grown])
    return findings


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _send(http: httpx.Client, url: str, path: Path) -> None:
    with path.open("rb") as file:
        http.post(url, files={"file": ("content", file)}).raise_for_status()


def _read(http: httpx.Client, url: str, size: int) -> None:
    with http.stream("GET", url) as answer:
        assert sum(map(len, answer.iter_raw(PIECE))) == size
