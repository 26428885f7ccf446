"""Every command that starts the API sets the bounds and shows no banner."""

import re

from tests.support.containers import compose, image_command
from tests.support.sources import APP, text_of

OPTIONS = {"--no-server-header", "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none"}


def test_the_image() -> None:
    assert set(image_command()) >= OPTIONS
    assert "uvicorn" not in str(compose()["services"])  # they run the image's command


def test_run_server() -> None:
    command = text_of(APP / "launcher" / "server.py").partition('api = ["uvicorn"')[2].partition("]")[0]
    assert set(re.findall(r'"([^"]*)"', command)) >= OPTIONS
