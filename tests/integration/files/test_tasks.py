"""Files and artifacts of tasks, from the request to the body and back: real workers, kill -9 among them."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.http import peers
from app.maintenance import loop
from tests.support.bounds import bounded
from tests.support.databases import ENGINE
from tests.support.running import Running, example_stack
from tests.support.services import Services
from tests.support.waiting import wait_for

FILES, TASKS, WORKFLOWS = "/api/v1/files/", "/api/v1/tasks/", "/api/v1/workflows/"
CONTENT = b"id,name\n1,a\n2,b\n"
SETTINGS = {"TASK_MODULES": '["tests.support.file_tasks"]'} | bounded({loop: {"INTERVAL_SECONDS": 0.1}})


@pytest.fixture(scope="module")
def shared(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with example_stack(services, tmp_path_factory.mktemp("files"), **SETTINGS) as started:
        started.stack.worker(concurrency=2)
        yield started


@pytest.fixture
def running(shared: Running) -> Iterator[Running]:
    """The same for all tests, each of which leaves no file there."""
    yield shared
    shared.stack.sql("UPDATE files SET state = 'dropped', size = 0")
    nothing_is_left(shared)


def nothing_is_left(running: Running) -> None:
    def is_gone() -> bool:
        return running.stack.sql("SELECT count(*) FROM files")[0][0] == 0 and bytes_kept(running) == 0

    wait_for(is_gone, 30, what="rows and bytes to be gone")


def upload(running: Running, name: str = "data.csv", content: bytes = CONTENT) -> str:
    answer = running.http.post(FILES, files={"file": (name, content, "text/csv")})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def artifacts(running: Running, task_id: str) -> dict[str, dict[str, Any]]:
    found = running.http.get(f"{TASKS}{task_id}/artifacts")
    assert found.status_code == 200, found.text
    return {each["name"]: each for each in found.json()}


def content(running: Running, task_id: str, name: str) -> bytes:
    answer = running.http.get(f"{TASKS}{task_id}/artifacts/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


def create(running: Running, name: str, **kwargs: Any) -> httpx.Response:
    body = {"name": "n", "task_type": "t", "celery_task_name": f"tests.{name}", "kwargs": kwargs}
    return running.http.post(TASKS, json=body)


def ended(running: Running, task_id: str) -> dict[str, Any]:
    return running.ended(task_id)


def bytes_kept(running: Running) -> int:
    folder = Path(running.stack.settings["STORAGE_URL"].removeprefix("file://"))
    return sum(path.is_file() for path in folder.rglob("*"))


class TestInputFile:
    def test_is_what_was_uploaded(self, running: Running) -> None:
        file, other = upload(running), upload(running, "other.csv")
        task = ended(running, running.create("read_file", file, kwargs={"others": [other, file]}))
        assert task["status"] == "succeeded", task
        result = task["result"]
        assert result["known"] == ["data.csv", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "text/csv"]
        assert (result["lines"], result["end"], result["others"]) == (3, "b\n", ["other.csv", "data.csv"])
        assert result["path"][:2] == ["data.csv", len(CONTENT)]
        assert not Path(result["path"][2]).exists()

    def test_that_is_none_is_refused_by_name(self, running: Running) -> None:
        file, missing = upload(running), "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d14"
        other = httpx.Client(base_url=running.http.base_url)
        with other:
            other.headers["Authorization"] = f"Bearer {running.stack.make_user('user')[1]}"
            for sender, wanted in ((running.http, missing), (other, file)):
                body = {
                    "name": "n",
                    "task_type": "t",
                    "celery_task_name": "tests.read_file",
                    "kwargs": {"file": wanted},
                }
                refused = sender.post(TASKS, json=body)
                assert (refused.status_code, refused.json()["code"]) == (422, "invalid_arguments")
                (error,) = refused.json()["errors"]
                assert (error["loc"], error["type"]) == (["body", "kwargs", "file"], "unknown_file")
        for malformed in ("data.csv", file.upper(), file.replace("-", ""), 7):
            assert create(running, "read_file", file=malformed).status_code == 422

    def test_is_not_deleted_while_a_task_waits_for_it(self, running: Running) -> None:
        file = upload(running)
        later = create(running, "read_file", file=file).json()["id"]
        ended(running, later)
        body = {"name": "n", "task_type": "t", "celery_task_name": "tests.read_file", "kwargs": {"file": file}}
        waiting = running.http.post(TASKS, json={**body, "delay_seconds": 3600}).json()["id"]
        refused = running.http.delete(f"{FILES}{file}")
        assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use")
        assert running.post(waiting, "cancel").status_code == 200
        assert running.http.delete(f"{FILES}{file}").status_code == 204
        wait_for(lambda: bytes_kept(running) == 0, 40, what="the bytes to be deleted")

    def test_may_be_changed_for_another(self, running: Running) -> None:
        file, other = upload(running), upload(running, "other.csv")
        body = {"name": "n", "task_type": "t", "celery_task_name": "tests.read_file", "kwargs": {"file": file}}
        waiting = running.http.post(TASKS, json={**body, "delay_seconds": 3600}).json()["id"]
        changed = running.http.patch(f"{TASKS}{waiting}", json={"kwargs": {"file": other}})
        assert changed.status_code == 200, changed.text
        assert running.http.delete(f"{FILES}{file}").status_code == 204
        assert running.http.delete(f"{FILES}{other}").status_code == 409
        refused = running.http.patch(f"{TASKS}{waiting}", json={"kwargs": {"file": file}})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_arguments")

    def test_of_a_schedule_is_kept_for_it(self, running: Running) -> None:
        file, other = upload(running), upload(running, "other.csv")
        task = {"name": "n", "task_type": "t", "celery_task_name": "tests.read_file", "kwargs": {"file": file}}
        made = running.http.post("/api/v1/schedules/", json={"name": "s", "cron": "0 3 * * *", "task": task})
        assert made.status_code == 201, made.text
        schedule = f"/api/v1/schedules/{made.json()['id']}"
        assert running.http.delete(f"{FILES}{file}").status_code == 409
        run = running.http.post(f"{schedule}/trigger")
        assert run.status_code in (200, 201), run.text
        changed = running.http.patch(schedule, json={"task": {**task, "kwargs": {"file": other}}})
        assert changed.status_code == 200, changed.text
        wait_for(lambda: running.http.delete(f"{FILES}{file}").status_code == 204, what="the triggered task to end")
        assert running.http.delete(schedule).status_code == 204
        assert running.http.delete(f"{FILES}{other}").status_code == 204


class TestArtifacts:
    def saved(self, running: Running, gate: Path, **kwargs: Any) -> str:
        """A task whose body has saved all, and waits for the gate."""
        task_id = running.create("save", str(gate), kwargs=kwargs)
        wait_for(lambda: gate.with_suffix(".saved").exists(), 40, what="the body to have saved")
        return task_id

    def test_are_seen_once_the_attempt_has_succeeded(self, running: Running, gate: Path) -> None:
        task_id = self.saved(running, gate)
        assert [*artifacts(running, task_id)] == ["partial.bin"]
        assert running.http.get(f"{TASKS}{task_id}/artifacts/report.txt").json()["code"] == "artifact_not_found"
        gate.touch()
        task = ended(running, task_id)
        found = artifacts(running, task_id)
        assert [*found] == ["partial.bin", "report.txt", "twice.txt"]
        assert task["result"] == {"artifact": found["report.txt"]["id"]}
        assert content(running, task_id, "report.txt") == b"of attempt 1"
        assert (content(running, task_id, "twice.txt"), found["twice.txt"]["content_type"]) == (
            b"second",
            "text/x-second",
        )
        assert (found["partial.bin"]["size"], found["report.txt"]["content_type"]) == (3_000_000, "text/plain")
        wait_for(lambda: bytes_kept(running) == 3, 40, what="the replaced one to be deleted")
        assert [*artifacts(running, task_id)] == [*found]

    def test_of_a_failed_attempt_are_the_partial_ones(self, running: Running, gate: Path) -> None:
        task_id = self.saved(running, gate, then="fail")
        gate.touch()
        assert ended(running, task_id)["status"] == "failed"
        wait_for(lambda: bytes_kept(running) == 1, 40, what="the others to be deleted")
        assert [*artifacts(running, task_id)] == ["partial.bin"]

    def test_of_a_cancelled_attempt_are_the_partial_ones(self, running: Running, gate: Path) -> None:
        task_id = self.saved(running, gate)
        assert running.post(task_id, "cancel").status_code == 202
        assert ended(running, task_id)["status"] == "revoked"
        wait_for(lambda: bytes_kept(running) == 1, 40, what="the others to be deleted")
        assert [*artifacts(running, task_id)] == ["partial.bin"]

    def test_of_a_lost_attempt_are_none(self, running: Running, gate: Path) -> None:
        task_id = self.saved(running, gate, then="die")
        gate.touch()
        assert ended(running, task_id)["status"] == "succeeded"
        assert running.outcomes(task_id) == ["worker_lost", "succeeded"]
        wait_for(lambda: bytes_kept(running) == 3, 40, what="those of the lost attempt to be deleted")
        assert {each["attempt"] for each in artifacts(running, task_id).values()} == {2}

    def test_go_with_their_task(self, running: Running, gate: Path) -> None:
        gate.touch()
        task_id = self.saved(running, gate)
        ended(running, task_id)
        assert running.http.delete(f"{TASKS}{task_id}").status_code == 204
        wait_for(lambda: bytes_kept(running) == 0, 40, what="the bytes to be deleted")

    def test_are_input_files_and_keep_their_task(self, running: Running, gate: Path) -> None:
        gate.touch()
        task_id = self.saved(running, gate)
        file = ended(running, task_id)["result"]["artifact"]
        assert ended(running, running.create("read_file", file))["result"]["known"][0] == "report.txt"
        body = {"name": "n", "task_type": "t", "celery_task_name": "tests.read_file", "kwargs": {"file": file}}
        waiting = running.http.post(TASKS, json={**body, "delay_seconds": 3600}).json()["id"]
        refused = running.http.delete(f"{TASKS}{task_id}")
        assert (refused.status_code, refused.json()["code"]) == (409, "task_has_children")
        assert running.http.delete(f"{FILES}{file}").json()["code"] == "file_not_found"
        running.post(waiting, "cancel")
        assert running.http.delete(f"{TASKS}{task_id}").status_code == 204

    def test_of_an_earlier_attempt_stay_until_they_are_saved_for_good(self, running: Running, gate: Path) -> None:
        task_id = self.saved(running, gate, then="fail")
        gate.touch()
        ended(running, task_id)
        first = artifacts(running, task_id)["partial.bin"]["id"]
        gate.unlink()
        gate.with_suffix(".saved").unlink()
        assert running.post(task_id, "retry").status_code == 202
        wait_for(lambda: gate.with_suffix(".saved").exists(), 40, what="the second attempt to have saved")
        second = artifacts(running, task_id)["partial.bin"]
        assert (second["attempt"], second["id"] != first) == (2, True)
        gate.touch()
        ended(running, task_id)
        wait_for(lambda: bytes_kept(running) == 1, 40, what="the first one to go")

    def test_keep_a_file_under_a_long_name(self, running: Running) -> None:
        file = upload(running, "数" * 195 + ".csv")
        path, size, _ = running.run("read_file", file)["result"]["path"]
        assert (path.endswith(".csv"), len(path.encode()) <= 255, size) == (True, True, len(CONTENT))

    def test_are_handed_on_in_a_workflow(self, running: Running, gate: Path) -> None:
        """And the task that has saved them stays as long as one reads them."""
        gate.touch()
        opened = gate.with_suffix(".opened")
        task = {"name": "n", "task_type": "t"}
        tasks = [
            {**task, "ref": "save", "celery_task_name": "tests.save", "args": [str(gate)]},
            {**task, "ref": "read", "celery_task_name": "tests.read_later",
             "kwargs": {"file": {"$result": "save", "path": ["artifact"]}, "gate": str(opened)}},
        ]  # fmt: skip
        made = running.http.post(WORKFLOWS, json={"name": "w", "tasks": tasks})
        assert made.status_code == 201, made.text
        ids = {each["ref"]: each["id"] for each in made.json()["tasks"]}
        running.until(ids["read"], "running")
        wait_for(lambda: running.stack.sql("SELECT count(*) FROM file_uses")[0][0], 40, what="the use to be noted")
        refused = running.http.delete(f"{TASKS}{ids['save']}")
        assert (refused.status_code, refused.json()["code"]) == (409, "task_has_children")
        opened.touch()
        assert ended(running, ids["read"])["result"] == "of attempt 1"
        assert running.http.delete(f"{TASKS}{ids['save']}").status_code == 204

    def test_hold_a_result_that_is_too_large(self, running: Running, gate: Path) -> None:
        gate.touch()
        task_id = self.saved(running, gate, then="large")
        task = ended(running, task_id)
        assert task["result"] == {"artifact": artifacts(running, task_id)["result.json"]["id"]}
        assert len(content(running, task_id, "result.json")) == 2_000_002

    def test_of_a_bad_name_fail_the_task(self, running: Running, gate: Path) -> None:
        task = ended(running, running.create("save", str(gate), kwargs={"name": "a/b"}))
        assert task["status"] == "failed"
        assert "a name has no /" in running.attempts(task["id"])[-1]["error_message"]


class TestDeath:
    @pytest.mark.parametrize("partial", [False, True])
    @pytest.mark.parametrize("at", [1, 2, 99])
    def test_of_a_body_while_it_saves_leaves_nothing(self, running: Running, at: int, partial: bool) -> None:
        task_id = running.create("die_while_saving", at, kwargs={"partial": partial})
        assert ended(running, task_id)["status"] == "succeeded"
        assert running.outcomes(task_id) == ["worker_lost", "succeeded"]
        nothing_is_left(running)

    def test_of_the_api_while_a_file_comes_leaves_nothing(self, running: Running) -> None:
        url = httpx.URL(running.stack.another_server({}))
        server = running.stack.parts[-1]
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        request = (
            f"POST {FILES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.token}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
        )
        with socket.create_connection((url.host, url.port or 0)) as client:
            client.sendall(request.encode() + head + bytes(4_000_000))
            wait_for(lambda: bytes_kept(running) == 1, 30, what="the first bytes to be written")
            server.kill()
        assert running.stack.sql("SELECT state FROM files")[0][0] == "writing"
        # Five minutes go by.
        running.stack.sql(f"UPDATE files SET touched_at = {'0' if ENGINE == 'sqlite' else repr('2020-01-01')}")
        nothing_is_left(running)


def test_a_file_is_larger_than_what_is_held_for_a_client(shared: Running) -> None:
    """Over a real connection, whose bytes are counted: BYTES_IN_ALL bounds them for all clients together."""
    url = shared.stack.another_server(bounded({peers: {"BYTES_PER_USER": 3_000_000, "BYTES_IN_ALL": 6_000_000}}))
    size = 20_000_000
    with httpx.Client(base_url=url, headers=shared.http.headers, timeout=60) as http:
        answer = http.post(FILES, files={"file": ("large.bin", bytes(size))})
        assert answer.status_code == 201, answer.text
        assert answer.json()["size"] == size
        assert len(http.get(f"{FILES}{answer.json()['id']}/content").content) == size
        assert http.delete(f"{FILES}{answer.json()['id']}").status_code == 204


class TestExport:
    @pytest.mark.parametrize("output", ["csv", "jsonl", "parquet"])
    def test_has_the_tasks_that_match_with_secrets_hidden(self, running: Running, output: str) -> None:
        kind = f"export-{output}"
        secret = running.create(
            "read_file", upload(running), task_type=kind, metadata={"password": "hidden", "=1": "x"}
        )
        ended(running, secret)
        other = running.create("read_file", upload(running), task_type="other")
        done = running.run(
            "app.tasks.common_tasks.export_tasks", kwargs={"filter": {"task_type": kind}, "output": output}
        )
        assert (done["status"], done["result"]["rows"]) == ("succeeded", 1), running.attempts(done["id"])
        text = content(running, done["id"], f"tasks.{output}")
        assert (secret.encode() in text, other.encode() in text, b"hidden" in text) == (True, False, False)

    def test_of_nothing_is_empty(self, running: Running) -> None:
        for output in ("csv", "parquet"):
            done = running.run(
                "app.tasks.common_tasks.export_tasks", kwargs={"filter": {"task_type": "none"}, "output": output}
            )
            assert (done["status"], done["result"]["rows"]) == ("succeeded", 0)
            profiled = running.run("app.tasks.common_tasks.profile_data", kwargs={"file": done["result"]["artifact"]})
            assert profiled["result"]["rows"] == 0, running.attempts(profiled["id"])
            assert {"id", "status"} <= {column["name"] for column in profiled["result"]["columns"]}

    def test_of_an_unknown_filter_names_it(self, running: Running) -> None:
        done = running.run("app.tasks.common_tasks.export_tasks", kwargs={"filter": {"staus": "failed"}})
        assert done["status"] == "failed"
        assert "staus" in running.attempts(done["id"])[-1]["error_message"]
