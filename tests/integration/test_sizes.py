"""How large the parts of a task may be: refused by name or failed with a clear error, and nothing is ever cut."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.core.config import get_settings
from app.db.session import SessionLocal
from app.errors import ResultTooLarge
from app.models.task import TaskStatus
from app.schemas import values
from app.services.task_service import task_service
from tests.support.bounds import bounded
from tests.support.running import Running
from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import task_in

ARGUMENTS, METADATA, RESULT = 4096, 2048, 8192
LIMITS = {"MAX_ARGUMENTS_BYTES": ARGUMENTS, "MAX_RESULT_BYTES": RESULT}
SETTINGS = {name: str(value) for name, value in LIMITS.items()}
client = module_client(**SETTINGS, **bounded({values: {"MAX_METADATA_BYTES": METADATA}}))


def of_size(size: int, character: str = "x") -> dict[str, str]:
    """A JSON object that takes so many bytes as it is stored: compact, ASCII."""
    room = size - len('{"param":""}')
    width = len(json.dumps(character)) - 2
    return {"param": character * (room // width) + "x" * (room % width)}


def refused(answer: httpx.Response, field: str, limit: int) -> None:
    assert answer.status_code == 422, answer.text[:300]
    error = answer.json()["errors"][0]
    assert (error["loc"][:2], error["type"]) == (["body", field], "json_too_large")
    assert str(limit) in error["msg"]
    assert len(answer.content) < 1000


class TestWhatClientsSend:
    @pytest.mark.parametrize("character", ["x", "数", "👍", "\n"])
    def test_arguments_up_to_the_byte(self, tasks: TaskClient, character: str) -> None:
        room = ARGUMENTS - len("[60]")
        assert tasks.create(kwargs=of_size(room, character))["kwargs"] == of_size(room, character)
        refused(tasks.post(body=BODY | {"kwargs": of_size(room + 1, character)}), "kwargs", ARGUMENTS)

    def test_args_alone(self, tasks: TaskClient) -> None:
        refused(tasks.post(body=BODY | {"args": ["x" * ARGUMENTS]}), "args", ARGUMENTS)

    def test_metadata(self, tasks: TaskClient) -> None:
        task = tasks.create(metadata=of_size(METADATA))
        refused(tasks.post(body=BODY | {"metadata": of_size(METADATA + 1)}), "metadata", METADATA)
        refused(tasks.patch(task["id"], {"metadata": of_size(METADATA + 1)}), "metadata", METADATA)
        assert tasks.get(task["id"]).json() == task

    def test_tags_are_few_and_short(self, tasks: TaskClient) -> None:
        tags = [f"{number:02}" + "数" * 98 for number in range(50)]
        assert tasks.create(tags=tags)["tags"] == tags
        assert tasks.post(body=BODY | {"tags": [*tags, "one more"]}).status_code == 422
        assert tasks.post(body=BODY | {"tags": ["x" * 101]}).status_code == 422

    @pytest.mark.parametrize("field", ["progress_detail", "result"])
    def test_what_administrators_set(self, admin: TaskClient, field: str) -> None:
        running = admin.task_in("running")
        more = {"status": "succeeded"} if field == "result" else {}
        refused(admin.patch(running, {field: of_size(RESULT + 1), **more}), field, RESULT)
        answer = admin.patch(running, {field: of_size(RESULT), **more})
        assert answer.json()[field] == of_size(RESULT)

    def test_the_python_api_has_the_same_limits(self, client: httpx.Client) -> None:
        with SessionLocal() as db:
            task = task_in(db, TaskStatus.RUNNING)
            with pytest.raises(ResultTooLarge):
                task_service.update_task_status(db, task.id, "succeeded", 100, of_size(RESULT + 1))
            with pytest.raises(ValueError, match="progress detail"):
                task_service.update_task_progress(db, task.id, 5, of_size(RESULT + 1))
            assert task_service.get_task(db, task.id).version == task.version
            task_service.update_task_progress(db, task.id, 5, of_size(RESULT))
            task_service.update_task_status(db, task.id, "succeeded", 100, of_size(RESULT))

    def test_a_list_of_the_largest_still_answers(self, tasks: TaskClient, admin: TaskClient) -> None:
        assert get_settings().max_result_bytes == RESULT
        for _ in range(20):
            task = tasks.task_in("running", kwargs=of_size(ARGUMENTS - 3), metadata=of_size(METADATA))
            admin.patch(task, {"status": "succeeded", "result": of_size(RESULT)})
        listed = tasks.get(limit=200)
        assert listed.status_code == 200
        assert [task["result"] for task in listed.json()] == [of_size(RESULT)] * 20


class TestWhatBodiesSay:
    @pytest.fixture
    def running(self, services: Services, tmp_path: Path) -> Iterator[Running]:
        with Stack(services, tmp_path, TASK_MODULES='["tests.support.sized_tasks"]', **SETTINGS) as stack:
            stack.worker(concurrency=1)
            yield Running(stack)

    def test_nothing_is_stored_in_part(self, running: Running) -> None:
        done = running.run("sized_result", RESULT)
        assert (done["status"], done["result"]) == ("succeeded", "x" * (RESULT - 2))
        failed = running.run("sized_result", RESULT + 1)
        assert (failed["status"], failed["result"], failed["progress"]) == ("failed", None, 0)
        assert failed["error"]["type"].endswith("ResultTooLarge")
        assert "MAX_RESULT_BYTES" in failed["error"]["message"]
        assert str(RESULT + 1) in failed["error"]["message"]
        told = running.run("sized_detail", RESULT + 1)
        assert told["status"] == "succeeded"
        assert told["result"] == ["ResultTooLarge", "ResultTooLarge"]
        assert told["progress_detail"] == {"text": "small"}

        retried = running.run("retry_with_more", ARGUMENTS, max_attempts=3)
        assert (retried["status"], retried["attempt"]) == ("failed", 1)
        assert "retry's args" in retried["error"]["message"]
