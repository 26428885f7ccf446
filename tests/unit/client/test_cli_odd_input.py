"""Words of the command line that nothing can be done with: exit code 2, and nothing is sent."""

from pathlib import Path

import httpx
import pytest

from task_service_client import profiles
from tests.unit.client.conftest import URL, Service, run, task

BYTES = "\udcff"  # as Python reads an argument that is no UTF-8
ID = "01a230e1-3000-716d-b27c-436dad5aca49"


@pytest.fixture(autouse=True)
def created(signed_in: Service) -> None:
    signed_in.answers = {
        "GET /tasks/types": httpx.Response(200, json=[{"celery_task_name": "t", "parameters": {}}]),
        "POST /tasks/": httpx.Response(201, json=task()),
    }


@pytest.mark.parametrize(
    "words",
    [["submit", "t", "--name", BYTES], ["submit", "t", f"k={BYTES}"], ["ls", f"name:{BYTES}"], ["queues", "pause", BYTES], ["submit", "t", "--tag", BYTES],
     ["login", URL, "--username", BYTES, "--password-stdin"]],
)  # fmt: skip
def test_bytes_that_are_no_text_are_refused(signed_in: Service, words: list[str]) -> None:
    ran = run(*words, stdin="secret")
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (2, "'\\udcff' cannot be encoded in utf-8.")
    assert {request.method for request in signed_in.requests} <= {"GET"}


@pytest.mark.parametrize("name", [BYTES, "\x1b]0;x\x07", "a\nb"])
def test_a_profile_has_a_name_that_can_be_printed(signed_in: Service, name: str) -> None:
    ran = run("login", URL, "--api-key-stdin", "--profile", name, stdin="tsk_key")
    assert (ran.exit_code, "is no name of a profile" in ran.stderr) == (2, True)
    assert not {*name} & {*ran.stderr} - {*"]0;xab\n"}
    assert (signed_in.requests, profiles.names()) == ([], [])


@pytest.mark.parametrize(
    "words",
    [["submit", "t", "--delay", "nan"], ["submit", "t", "--delay", "inf"], ["submit", "t", "--time-limit", "-inf"], ["watch", ID, "--timeout", "nan"],
     ["logs", ID, "--timeout", "inf"], ["cancel", "--query", "type:x", "--timeout", "nan"], ["ls", "--limit", "99999999999999999999"],
     ["top", "--interval", "1e308"], ["top", "--interval", "nan"]],
)  # fmt: skip
def test_numbers_are_finite(signed_in: Service, words: list[str]) -> None:
    ran = run(*words)
    assert (ran.exit_code, "does not take" in ran.stderr) == (2, True)
    assert words[-2] in ran.stderr
    assert signed_in.requests == []


@pytest.mark.parametrize("key", ["a\nb", "键", " a", "a ", "", "x" * 256])
def test_an_idempotency_key_is_what_the_service_takes(signed_in: Service, key: str) -> None:
    ran = run("submit", "t", "--idempotency-key", key)
    assert (ran.exit_code, ran.stderr) == (2, "--idempotency-key takes printable ASCII, 255 characters at most.\n")
    assert signed_in.requests == []
    assert run("submit", "t", "--idempotency-key", "a key " + "x" * 249).exit_code == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://host:abc",
        "http://xn--a.example",
        "http://a..b",
        "http://" + "a" * 300,
        "http://a\nb",
        "http://é..x",
        f"http://{BYTES}.example",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    for words in (["ls", "--url", url], ["watch", ID, "--url", url], ["login", url, "--api-key-stdin"]):
        ran = run(*words, stdin="tsk_key")
        assert (ran.exit_code, " URL " in ran.stderr, "Usage" in ran.stderr) == (2, True, False), words


def test_a_login_that_cannot_be_saved_is_not_made(
    signed_in: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "link"
    folder.symlink_to(tmp_path / "gone")
    monkeypatch.setenv("TASK_SERVICE_CONFIG", str(folder))
    ran = run("login", URL, "--username", "u", "--password-stdin", stdin="secret")
    assert (ran.exit_code, str(folder) in ran.stderr) == (1, True)
    assert signed_in.requests == []
