"""The page of files, and the artifacts on the page of a task: pictures are shown in a sandbox, all else is downloaded."""

from uuid import UUID

import httpx
import pytest

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.models import StoredFile
from app.models.stored_file import FileState
from app.storage import key_of, storage
from tests.support.page_reader import Reader, cells, heading
from tests.support.task_client import TaskClient

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def upload(reader: Reader, name: str = "orders.csv", content: bytes = b"a,b\n") -> httpx.Response:
    body = httpx.Request("POST", "http://x/", files={"file": (name, content, "text/csv")})
    headers = {"Content-Type": body.headers["content-type"], "Sec-Fetch-Site": "same-origin"}
    return reader.request("POST", "/ui/files", headers, content=body.read())


def saved(tasks: TaskClient, name: str, content: bytes, content_type: str) -> str:
    """An artifact of a new task of this user. Returns the task's id."""
    task_id = str(tasks.post(body={"name": "n", "task_type": "t", "celery_task_name": "app.tasks.common_tasks.long_running_task", "args": [1]}).json()["id"])  # fmt: skip
    with SessionLocal.begin() as db:
        kept = {"state": FileState.KEPT.value, "sha256": "00", "size": len(content), "attempt": 1}
        made = StoredFile(id=new_id(), task_id=UUID(task_id), name=name, content_type=content_type, **kept)
        made.user_id = UUID(tasks.user["id"])
        storage().write(key_of(made.id), [content])
        db.add(made)
    return task_id


class TestFiles:
    def test_are_uploaded_listed_downloaded_and_deleted(self, reader: Reader) -> None:
        page = reader.get("/files")
        assert (heading(page.text), "There are no files yet" in page.text) == ("Files", True)
        assert upload(reader).headers["location"].startswith("/ui/files")
        (row,) = cells(reader.get("/files").text, "files")
        assert (row[0], row[1], row[2]) == ("orders.csv", "4", "text/csv")
        file_id = row[3].split()[0]
        answer = reader.get(f"/files/{file_id}/content")
        assert (answer.content, answer.headers["content-disposition"]) == (
            b"a,b\n",
            'attachment; filename="orders.csv"',
        )
        assert "Delete this file?" in reader.post(f"/files/{file_id}/delete").text
        reader.post(f"/files/{file_id}/delete", confirmed="true")
        assert "There are no files yet" in reader.get("/files").text

    def test_of_a_bad_name_are_refused_on_a_page(self, reader: Reader) -> None:
        answer = upload(reader, "a" * 201)
        assert (answer.status_code, "a name has 1 to 200 characters" in answer.text) == (422, True)

    def test_from_another_site_are_refused(self, reader: Reader) -> None:
        body = httpx.Request("POST", "http://x/", files={"file": ("a", b"x")})
        headers = {"Content-Type": body.headers["content-type"], "Sec-Fetch-Site": "cross-site"}
        assert reader.request("POST", "/ui/files", headers, content=body.read()).status_code == 403


class TestArtifacts:
    def test_that_are_pictures_are_shown_in_a_sandbox(self, reader: Reader, tasks: TaskClient) -> None:
        task_id = saved(tasks, "plot 1.svg", SVG, "image/svg+xml")
        answer = reader.get(f"/tasks/{task_id}/pictures/plot%201.svg")
        assert (answer.status_code, answer.content) == (200, SVG)
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("content_type", ["text/html", "image/gif", "text/plain"])
    def test_that_are_none_are_downloaded_alone(self, reader: Reader, tasks: TaskClient, content_type: str) -> None:
        task_id = saved(tasks, "report.html", b"<script>alert(1)</script>", content_type)
        assert reader.get(f"/tasks/{task_id}/pictures/report.html").status_code == 404
        answer = reader.get(f"/tasks/{task_id}/artifacts/report.html")
        assert answer.headers["content-disposition"].startswith("attachment")

    def test_of_another_user_are_not_found(self, reader: Reader, admin: TaskClient) -> None:
        task_id = saved(admin, "plot.svg", SVG, "image/svg+xml")
        for path in ("pictures", "artifacts"):
            assert reader.get(f"/tasks/{task_id}/{path}/plot.svg").status_code == 404
