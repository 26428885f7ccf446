"""The text after a start: addresses, the administrator, and a curl command to paste."""

import json
import shlex
from pathlib import Path
from typing import NamedTuple

TASK = {
    "name": "my first task",
    "task_type": "demo",
    "celery_task_name": "app.tasks.common_tasks.long_running_task",
    "args": [10],
}


class Admin(NamedTuple):
    """The first administrator. `password` is the password, or says where it is."""

    username: str
    password: str


def base_url(host: str, port: int) -> str:
    """The URL by which this machine reaches a server that listens on this host and port."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound  # nosec B104
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def curl_line(env_file: Path) -> str:
    """A command that logs in and creates a task.

    It reads address and password from the file, so no history shows the password.
    """
    extract = shlex.quote('import json, sys; print(json.load(sys.stdin)["access_token"])')
    return (
        f"(. {shlex.quote(str(env_file))}; TOKEN=$(curl -sS $TASK_SERVICE_URL/api/v1/auth/login"
        ' --data-urlencode "username=$FIRST_ADMIN_USERNAME" --data-urlencode "password=$FIRST_ADMIN_PASSWORD"'
        f' | python3 -c {extract}) && curl -sS $TASK_SERVICE_URL/api/v1/tasks/ -H "Authorization: Bearer $TOKEN"'
        f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(TASK))}; echo)"
    )


def greeting(url: str, admin: Admin, env_file: Path) -> list[str]:
    """The lines to print once the service is ready."""
    return [
        "",
        f"  pages       {url}/ui/",
        f"  API         {url}/docs   (all calls, below {url}/api/v1)",
        f"  health      {url}/healthz   {url}/readyz",
        f"  admin       {admin.username}",
        f"  password    {admin.password}",
        f"  environment {env_file}",
        "",
        "  Log in and create a task (paste it into another terminal):",
        "",
        curl_line(env_file),
        "",
        "  Ctrl-C stops everything.",
        "",
    ]
