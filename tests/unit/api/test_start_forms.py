"""Every way in which we start the API has the bounds and shows no banner."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = ["--no-server-header", "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none"]


def quoted(text: str) -> list[str]:
    return [json.loads(word) for word in re.findall(r'"[^"]*"', text)]


def test_the_image() -> None:
    command = (ROOT / "Dockerfile").read_text().partition("\nCMD ")[2]
    assert set(OPTIONS) <= set(quoted(command))
    assert "uvicorn" not in (ROOT / "docker-compose.yml").read_text().partition("services:")[2]  # the image's command


def test_run_server() -> None:
    source = (ROOT / "app" / "launcher" / "server.py").read_text()
    command = source.partition('api = ["uvicorn"')[2].partition("]")[0]
    assert set(OPTIONS) <= set(quoted(command))
