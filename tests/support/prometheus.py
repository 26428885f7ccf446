"""A real Prometheus, Debian's, that scrapes a stack's API with the files of docs/monitoring."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from app.launcher.ports import free_loopback_port
from tests.support.services import ROOT, process_environment
from tests.support.stack import Part, Stack

MONITORING = ROOT / "docs" / "monitoring"
ALERT_TESTS = ROOT / "tests" / "support" / "monitoring" / "alerts_test.yml"
SECONDS = 40
JOB = "task-service"
# What Grafana puts into the places of its variables.
VARIABLES = {
    "$__rate_interval": "1m",
    "$__range_s": "3600",
    "$__range": "1h",
    "$job": JOB,
    "$queue": ".*",
    "$task": ".*",
}


def promtool(directory: Path, *command: str) -> None:
    """Run it in a directory that has copies of the files and a key."""
    for file in (*MONITORING.glob("*.yml"), ALERT_TESTS):
        shutil.copy(file, directory)
    (directory / "task-service.key").write_text("tsk_none")
    done = subprocess.run(
        ["promtool", *command], cwd=directory, check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dashboard() -> dict[str, Any]:
    text = (MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Title of the panel, and the query with values in the places of variables."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], filled(target["expr"])


def filled(query: str) -> str:
    for name in sorted(VARIABLES, key=len, reverse=True):
        query = query.replace(name, VARIABLES[name])
    assert "$" not in query, query
    return query


class Prometheus:
    """Started with the configuration of the documents, but for the address, and a scrape each second."""

    def __init__(self, stack: Stack, key: str) -> None:
        self.directory = stack.directory / "prometheus"
        self.directory.mkdir()
        shutil.copy(MONITORING / "alerts.yml", self.directory)
        (self.directory / "task-service.key").write_text(key)
        text = (MONITORING / "prometheus.yml").read_text(encoding="utf-8")
        text, addresses = re.subn(r"targets: \[.*?\]", f'targets: ["127.0.0.1:{stack.port}"]', text)
        text, intervals = re.subn(r"_interval: 15s", "_interval: 1s", text)
        assert (addresses, intervals) == (1, 2)
        (self.directory / "prometheus.yml").write_text(text)
        port = free_loopback_port()
        argv = [shutil.which("prometheus") or "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
        part = Part("prometheus", argv, self.directory / "log", process_environment({}))
        stack.parts.append(part)
        part.process.start()
        part.await_line("Server is ready to receive web requests")
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, path: str, **params: str) -> Any:
        answer = self.http.get(path, params=params).json()
        assert answer["status"] == "success", (params, answer)
        return answer["data"]

    def query(self, query: str) -> list[dict[str, Any]]:
        """The series that answer it now."""
        found: list[dict[str, Any]] = self.ask("/query", query=query)["result"]
        return found

    def value(self, query: str) -> float:
        """The value of a query of one series; 0 without any."""
        found = self.query(query)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else 0.0
