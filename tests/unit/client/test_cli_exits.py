"""Exit codes of errors, and what is said of them."""

from functools import partial
from typing import Any

import httpx
import pytest
import typer

from task_service_client import ApiError, Damaged, NotSignedIn, Unexpected, Unreachable
from task_service_client.cli.command import guarded
from task_service_client.cli.exits import Refused


def refused(status: int, **problem: Any) -> ApiError:
    kind = NotSignedIn if status == 401 else ApiError
    return kind(status, problem, None)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Refused("no"), 2, "no"), (refused(401, code="not_authenticated", detail="log in"), 4, "task-service login"),
        (refused(404, code="task_not_found", detail="gone"), 1, "gone (task_not_found)"), (refused(409, code="x", detail="d"), 1, "d (x)"),
        (refused(422, code="v", detail="d", errors=[{"loc": ["body", "k"], "msg": "m"}]), 2, "  k: m"), (refused(500, code="internal", detail="d"), 1, "d"),
        (refused(502, detail="a proxy"), 3, "a proxy"), (refused(404, detail="another server"), 3, "another"), (Unreachable("refused"), 3, "refused"),
        (TimeoutError(), 124, "over"), (KeyboardInterrupt(), 130, ""), (typer.Abort(), 130, ""), (typer.Exit(7), 7, ""), (Damaged("sha"), 1, "sha"),
        (OSError("disk"), 1, "disk"), (Unexpected("no list"), 3, "not the task service: no list"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), 2, "'\\udcff' cannot be encoded in utf-8"),
        (UnicodeError("encoding with 'idna' codec failed"), 2, "URL"), (httpx.InvalidURL("Invalid port"), 2, "URL is not valid: Invalid port"),
    ],
)  # fmt: skip
def test_of_errors(error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def call() -> None:
        raise error

    assert guarded(call) == code
    out, said = capsys.readouterr()
    assert out == ""
    assert words in said


def test_a_fault_of_the_program_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0)
    for error in (KeyError("id"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), RecursionError(), TypeError()):
        with pytest.raises(type(error)):
            guarded(partial(_raise, error))


def _raise(error: BaseException) -> None:
    raise error
