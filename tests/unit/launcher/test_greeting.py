"""The last lines on the screen."""

import json
import shlex
from pathlib import Path

import pytest

from app.launcher.server import base_url, curl_line


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("example.org", "http://example.org:8000"),
    ],
)
def test_the_url_is_one_that_this_machine_reaches(host, url):
    assert base_url(host, 8000) == url


def test_the_curl_line_is_one_line_of_shell_with_json_in_it():
    line = curl_line(Path("/a dir/it's/env"))
    assert "\n" not in line
    words = shlex.split(line.replace("(", " ").replace(")", " "), comments=False)
    assert words[:2] == [".", "/a dir/it's/env;"]
    assert "$TASK_SERVICE_URL/api/v1/tasks/" in words
    body = json.loads(words[words.index("-d") + 1].rstrip(";"))
    assert body["celery_task_name"] == "app.tasks.common_tasks.long_running_task"
    assert body["args"] == [10]
