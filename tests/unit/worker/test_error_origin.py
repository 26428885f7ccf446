"""Where an error was raised: the innermost function of the user's own code."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from app.core.error_keys import error_key
from app.tasks import common_tasks
from app.worker.shared.error_text import describe, origin_of


def raised(body: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as caught:
        body()
    return caught.value


def read(text: str) -> Any:
    return json.loads(text)


class Reader:
    def read(self, text: str) -> Any:
        return re.compile(text)


def test_frames_of_the_standard_library_are_passed_over() -> None:
    assert origin_of(raised(lambda: read("{"))) == f"{__name__}:read"
    assert origin_of(raised(lambda: Reader().read("("))) == f"{__name__}:Reader.read"


def test_frames_of_the_service_are_passed_over_but_bodies_of_its_tasks_count() -> None:
    def body() -> None:
        common_tasks.long_running_task.run(-1)

    assert origin_of(raised(body)).startswith("app.tasks.common_tasks:")
    # pydantic's frames are in site-packages, the caller's are the test's.
    from app.services.tasks.new_rows import parse

    assert origin_of(raised(lambda: parse({}))).startswith(f"{__name__}:")


def test_an_error_without_such_a_frame_has_none() -> None:
    assert origin_of(ValueError("never raised")) == ""


def test_the_key_of_a_described_error_has_origin_and_message() -> None:
    error = describe(raised(lambda: read("{")))
    assert error.key == error_key(error.message, f"{__name__}:read")
    assert describe(raised(lambda: read("{\n"))).key == error.key
    assert describe(raised(lambda: json.loads("{"))).key != error.key
