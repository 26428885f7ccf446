"""The line for a shell that creates a task again."""

import json
import subprocess

import pytest
from starlette.requests import Request

from app.schemas.task import TASK, TaskRead
from app.web.shown_tasks import curl_of
from tests.support.tables import check_rows

UGLY = """it's "$(touch /tmp/x)" `id` ; \\ \n !! --next @file 名字"""


@pytest.fixture
def request_of_page() -> Request:
    headers = [(b"host", b"tasks.example.com:8443")]
    scope = {"type": "http", "scheme": "https", "path": "/ui/tasks/x", "root_path": "/ui", "headers": headers}
    return Request({**scope, "method": "GET", "query_string": b"", "server": ("x", 1)})


def arguments(line: str) -> list[str]:
    """What a shell hands to curl."""
    script = "curl() { printf '%s\\0' \"$@\"; }; TOKEN=secret; " + line
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True)
    assert done.stderr == ""
    return done.stdout.split("\0")[:-1]


def test_a_shell_hands_on_what_the_task_has_and_runs_none_of_it(request_of_page: Request) -> None:
    check_rows(lambda text: hands_on(request_of_page, text), ["report", UGLY, "'", "-d", "a\u2028b"])


def hands_on(request_of_page: Request, text: str) -> None:
    task = TaskRead.model_validate({**TASK, "metadata_": {}, "name": text, "tags": [text], "kwargs": {text: [text]}})
    header, authorization, json_option, body, url = arguments(curl_of(request_of_page, task))
    assert (header, authorization, json_option) == ("--header", "Authorization: Bearer secret", "--json")
    assert url == "https://tasks.example.com:8443/api/v1/tasks/"
    sent = json.loads(body)
    assert (sent["name"], sent["tags"], sent["kwargs"]) == (text, [text], {text: [text]})
    assert sent.keys() >= {"task_type", "celery_task_name", "priority", "max_attempts"}
    assert not sent.keys() & {"id", "status", "result", "unique_key"}
