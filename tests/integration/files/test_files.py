"""Files over HTTP: upload, digests, bounds, list, ranges, deletion; what a client that goes away leaves."""

import base64
import hashlib
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.security import access_token_life, create_access_token, read_access_token
from app.db.session import SessionLocal
from app.db.statements import files as statements
from app.db.statements.expressions import seconds_between
from app.db.statements.files import Attempt
from app.ddl.clock import NOW
from app.errors import FileNotFound, StorageUnavailable, TooManyBytesStored
from app.maintenance.passes.deletions import DELETE_CONTENTS
from app.maintenance.rounds import Round
from app.models import StoredFile
from app.services.accounts.sessions import revoke_sessions_of
from app.services.execution import ends
from app.services.execution.attempts import NextTry
from app.services.files import deletion
from app.services.files.contents import Measure
from app.services.files.service import StartedFile, file_service
from app.services.schedules.service import schedule_service
from app.services.tasks.quotas import quotas
from app.storage import Storage, key_of, storage
from tests.support.accounts import MakeUser
from tests.support.schedules import new_schedule
from tests.support.task_client import TaskClient, module_client, task_client
from tests.support.tasks import ERROR, claim, finish, new_task
from tests.support.waiting import wait_for

client = module_client()
FILES = "/api/v1/files/"
CONTENT = b"id,name\r\n1,\xc3\xa9t\xc3\xa9\r\n" * 100_000


@pytest.fixture
def tasks(client: httpx.Client, make_user: MakeUser) -> TaskClient:
    return task_client(client, make_user)


@contextmanager
def setting(name: str, value: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(get_settings(), name.lower(), value)
        yield


def upload(tasks: TaskClient, content: bytes = b"a,b\n1,2\n", name: str = "data.csv", **options: Any) -> httpx.Response:
    headers = {**tasks.headers, **options.pop("headers", {})}
    part = options.pop("part", (name, content, "text/csv"))
    return tasks.http.post(FILES, files={"file": part}, headers=headers, **options)


def upload_in_two(tasks: TaskClient, between: Callable[[], object]) -> httpx.Response:
    """Upload CONTENT in chunks, and do this as the body is read."""
    whole = httpx.Request("POST", "http://x/", files={"file": ("a.csv", CONTENT)})
    body = whole.read()

    def chunks() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        between()
        yield body[len(body) // 2 :]

    headers = {**tasks.headers, "Content-Type": whole.headers["content-type"]}
    return tasks.http.post(FILES, content=chunks(), headers=headers)


def made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"], answer.json()["detail"]


def get(tasks: TaskClient, path: str, **headers: str) -> httpx.Response:
    return tasks.http.get(f"{FILES}{path}", headers={**tasks.headers, **headers})


def content(tasks: TaskClient, file_id: str, **headers: str) -> httpx.Response:
    return get(tasks, f"{file_id}/content", **headers)


def states() -> list[str]:
    with SessionLocal() as db:
        return list(db.scalars(select(StoredFile.state).order_by(StoredFile.id)))


def bytes_kept() -> list[Path]:
    folder = Path(get_settings().storage_url.removeprefix("file://"))
    return [path for path in folder.rglob("*") if path.is_file()]


def swept() -> None:
    """Have maintenance do what it does now and then."""
    with SessionLocal() as db:
        while statements.drop_what_is_over(db, 100):
            db.commit()
        db.commit()
        deletion.delete_dropped(db)


@pytest.fixture(autouse=True)
def nothing_left(client: httpx.Client) -> Iterator[None]:
    yield
    with SessionLocal() as db:
        statements.drop(db, StoredFile.id.is_not(None))
        db.commit()
    swept()
    assert (states(), bytes_kept()) == ([], [])


class TestUpload:
    def test_is_kept_as_it_was_sent(self, tasks: TaskClient) -> None:
        file = made(upload(tasks, CONTENT, "été 1.csv"))
        assert (file["name"], file["size"], file["content_type"]) == ("été 1.csv", len(CONTENT), "text/csv")
        assert file["sha256"] == hashlib.sha256(CONTENT).hexdigest()
        assert file["user_id"] == tasks.user["id"]
        assert content(tasks, file["id"]).content == CONTENT
        assert get(tasks, file["id"]).json() == file
        assert get(tasks, "").json() == [file]

    def test_may_be_empty(self, tasks: TaskClient) -> None:
        file = made(upload(tasks, b""))
        assert (file["size"], content(tasks, file["id"]).content) == (0, b"")

    def test_is_larger_than_other_bodies_may_be(self, tasks: TaskClient) -> None:
        large = bytes(get_settings().max_body_bytes + 1)
        assert made(upload(tasks, large))["size"] == len(large)

    def test_of_more_than_its_bound_leaves_nothing(self, tasks: TaskClient) -> None:
        with setting("MAX_FILE_BYTES", 2000):
            assert refused(upload(tasks, bytes(2001))) == (413, "body_too_large", "The file is larger than 2000 bytes")
            assert made(upload(tasks, bytes(2000)))["size"] == 2000
        swept()
        assert len(bytes_kept()) == 1

    def test_in_chunks_needs_no_length(self, tasks: TaskClient) -> None:
        file = made(upload_in_two(tasks, lambda: None))
        assert file["sha256"] == hashlib.sha256(CONTENT).hexdigest()

    def test_may_take_longer_than_its_token_lasts(self, tasks: TaskClient) -> None:
        headers = {**tasks.headers}
        claims = read_access_token(headers["Authorization"].removeprefix("Bearer "))
        ends = datetime.now(UTC) + timedelta(seconds=1)
        token = create_access_token(claims.user_id, claims.session_id, ends - access_token_life())
        tasks.headers["Authorization"] = f"Bearer {token}"
        file = made(upload_in_two(tasks, lambda: wait_for(lambda: datetime.now(UTC) > ends, 10, "the token's end")))
        assert get(tasks, file["id"]).status_code == 401
        tasks.headers["Authorization"] = headers["Authorization"]
        assert content(tasks, file["id"]).content == CONTENT

    def test_is_refused_at_its_end_if_the_login_has_ended(self, tasks: TaskClient) -> None:
        def end_login() -> None:
            with SessionLocal() as db:
                revoke_sessions_of(db, UUID(tasks.user["id"]), "logout")
                db.commit()

        assert refused(upload_in_two(tasks, end_login))[:2] == (401, "invalid_token")
        swept()
        assert (states(), bytes_kept()) == ([], [])

    @pytest.mark.parametrize("size", [1, 2, 7, 64])
    def test_may_come_in_pieces_of_any_size(self, tasks: TaskClient, size: int) -> None:
        whole = httpx.Request("POST", "http://x/", files={"file": ("a.csv", b"--\r\n-boundary\r\n" * 9)})
        body = whole.read()
        headers = {**tasks.headers, "Content-Type": whole.headers["content-type"]}
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        file = made(tasks.http.post(FILES, content=pieces, headers=headers))
        assert content(tasks, file["id"]).content == b"--\r\n-boundary\r\n" * 9

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "a" * 201])
    def test_of_a_bad_name_is_refused(self, tasks: TaskClient, name: str) -> None:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
            + name.encode()
            + b'"\r\n\r\nx\r\n--b--\r\n'
        )
        headers = {**tasks.headers, "Content-Type": "multipart/form-data; boundary=b"}
        assert tasks.http.post(FILES, content=body, headers=headers).status_code == 422

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"", "ends before its form does"),
            (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf', "ends before"),
            (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', "one field, `file`"),
            (b'--b\r\nContent-Disposition: form-data; name="x"; filename="a"\r\n\r\nx\r\n--b--\r\n', "one field"),
            (b"--b\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n", "no multipart form"),
            (b"no form at all", "no multipart form"),
            (b"--b--\r\n", "one field, `file`"),
        ],
    )
    def test_of_another_body_is_refused(self, tasks: TaskClient, body: bytes, told: str) -> None:
        headers = {**tasks.headers, "Content-Type": "multipart/form-data; boundary=b"}
        status, code, detail = refused(tasks.http.post(FILES, content=body, headers=headers))
        assert (status, code) == (422, "invalid_upload")
        assert told in detail

    def test_of_two_files_is_refused(self, tasks: TaskClient) -> None:
        two = [("file", ("a", b"1")), ("file", ("b", b"2"))]
        assert tasks.http.post(FILES, files=two, headers=tasks.headers).status_code == 422

    def test_of_json_is_refused(self, tasks: TaskClient) -> None:
        status, code, _ = refused(tasks.http.post(FILES, json={}, headers=tasks.headers))
        assert (status, code) == (415, "unsupported_media_type")

    def test_without_a_login_is_refused_before_it_is_read(self, client: httpx.Client) -> None:
        answer = client.post(FILES, headers={"Content-Type": "multipart/form-data; boundary=b"}, content=b"--b")
        assert refused(answer)[0] == 401

    def test_beyond_the_quota_is_refused(self, tasks: TaskClient) -> None:
        with setting("QUOTA_STORED_BYTES", 100000):
            made(upload(tasks, bytes(60_000)))
            status, code, detail = refused(upload(tasks, bytes(60_000)))
        assert (status, code) == (429, "stored_bytes_quota")
        assert re.search(r"6\d{4} of 100000 bytes are kept", detail)

    def test_of_unknown_length_reserves_what_has_come(self, tasks: TaskClient) -> None:
        """Many at once take together what one may, and one that fits is not refused for what others may still send."""
        user_id = UUID(tasks.user["id"])
        with setting("QUOTA_STORED_BYTES", 100_000), SessionLocal() as db:
            one, other = (file_service.begin(db, user_id, name, "text/csv", None) for name in ("one", "other"))
            for size in range(10_000, 70_000, 10_000):
                file_service.reserve_up_to(db, one, size)
            file_service.reserve_up_to(db, other, 40_000)
            assert not file_service.reserve_known(other, 40_001)
            with pytest.raises(TooManyBytesStored):
                file_service.reserve_up_to(db, other, 40_001)
            file_service.give_up(db, one)
            assert file_service.reserve_known(other, 100_000)
            assert len(other.reservations) == 1
            file_service.give_up(db, other)
            assert quotas.keeps_too_much(db, user_id) is False
            file_service.give_up(db, file_service.begin(db, user_id, "all", "text/csv", 100_000))

    def test_that_cannot_begin_reserves_nothing(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OperationalError("INSERT", None, Exception("the database is away"))

        user_id = UUID(tasks.user["id"])
        with setting("QUOTA_STORED_BYTES", 100_000), SessionLocal() as db:
            with monkeypatch.context() as patched:
                patched.setattr(statements, "begin_file", refuse)
                with pytest.raises(OperationalError):
                    file_service.begin(db, user_id, "one", "text/csv", 100_000)
            file_service.give_up(db, file_service.begin(db, user_id, "other", "text/csv", 100_000))

    def test_of_a_user_who_is_deleted_at_its_end_is_too_late(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            started = file_service.begin(db, UUID(tasks.user["id"]), "a", "text/csv", None)
            db.execute(update(StoredFile).values(user_id=None))
            db.commit()
            with pytest.raises(FileNotFound):
                file_service.finish(db, started, Measure(1))
            assert states() == ["writing"]
            file_service.give_up(db, started)

    @pytest.mark.parametrize("is_chunked", [False, True])
    def test_of_any_length_fails_only_if_its_bytes_do_not_fit(self, tasks: TaskClient, is_chunked: bool) -> None:
        def send(size: int) -> httpx.Response:
            whole = httpx.Request("POST", "http://x/", files={"file": ("a.csv", bytes(size))})
            headers = {**tasks.headers, "Content-Type": whole.headers["content-type"]}
            content = iter([whole.read()]) if is_chunked else whole.read()
            return tasks.http.post(FILES, content=content, headers=headers)

        with setting("QUOTA_STORED_BYTES", 99_999):
            assert refused(send(100_000))[:2] == (429, "stored_bytes_quota")
            made(send(99_999))
            assert refused(send(1))[:2] == (429, "stored_bytes_quota")

    def test_of_unknown_length_beyond_the_quota_is_refused(self, tasks: TaskClient) -> None:
        with setting("QUOTA_STORED_BYTES", len(CONTENT) + 100_000):
            made(upload(tasks, CONTENT))
            assert refused(upload_in_two(tasks, lambda: None))[:2] == (429, "stored_bytes_quota")

    def test_at_once_with_others_exceeds_no_quota(self, tasks: TaskClient) -> None:
        """Each has sent half before any sends the other half."""
        user_id, half, uploads = UUID(tasks.user["id"]), 10_000, 8
        barrier = threading.Barrier(uploads)

        def send(_: int) -> StartedFile | None:
            with SessionLocal() as db:
                started = file_service.begin(db, user_id, "a.csv", "text/csv", None)
                if not file_service.reserve_known(started, half):
                    file_service.reserve_up_to(db, started, half)
                barrier.wait(20)
                try:
                    file_service.reserve_up_to(db, started, 2 * half)
                except TooManyBytesStored:
                    file_service.give_up(db, started)
                    return None
                return started

        with setting("QUOTA_STORED_BYTES", 100_000), ThreadPoolExecutor(uploads) as threads:
            kept = [each for each in threads.map(send, range(uploads)) if each is not None]
            assert 2 <= len(kept) <= 5
            with SessionLocal() as db:
                for each in kept:
                    file_service.give_up(db, each)


class TestDigests:
    DIGEST = base64.b64encode(hashlib.sha256(b"abc").digest()).decode()
    OTHER = base64.b64encode(hashlib.sha256(b"abd").digest()).decode()

    def send(self, tasks: TaskClient, part: str | None, whole: str | None = None) -> httpx.Response:
        more = {} if part is None else {"Content-Digest": part}
        body = httpx.Request("POST", "http://x/", files={"file": ("a", b"abc", "text/plain", more)})
        headers = {**tasks.headers, "Content-Type": body.headers["content-type"]}
        content = body.read()
        if whole is not None:
            digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
            headers["Content-Digest"] = whole.format(digest)
        return tasks.http.post(FILES, content=content, headers=headers)

    def test_that_are_right_are_taken(self, tasks: TaskClient) -> None:
        made(self.send(tasks, f"sha-256=:{self.DIGEST}:"))
        made(self.send(tasks, f"md5=:AAAA:, sha-256=:{self.DIGEST}:"))
        made(self.send(tasks, None, "sha-256=:{}:"))
        made(self.send(tasks, "sha-512=:AAAA:"))

    def test_of_the_whole_body_counts_what_follows_the_form(self, tasks: TaskClient) -> None:
        body = httpx.Request("POST", "http://x/", files={"file": ("a", b"abc")})
        content = body.read() + b"an epilogue"
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        headers = {
            **tasks.headers,
            "Content-Type": body.headers["content-type"],
            "Content-Digest": f"sha-256=:{digest}:",
        }
        pieces = (content[at : at + 10] for at in range(0, len(content), 10))
        made(tasks.http.post(FILES, content=pieces, headers=headers))

    @pytest.mark.parametrize(
        ("part", "whole", "told"),
        [
            (f"sha-256=:{OTHER}:", None, "the file is another one"),
            (None, f"sha-256=:{OTHER}:", "the body is another one"),
            ("sha-256=:AAAA:", None, "Content-Digest is no digest"),
            (f"sha-256={DIGEST}", None, "Content-Digest is no digest"),
        ],
    )
    def test_that_are_wrong_are_refused(
        self, tasks: TaskClient, part: str | None, whole: str | None, told: str
    ) -> None:  # fmt: skip
        status, code, detail = refused(self.send(tasks, part, whole))
        assert (status, code) == (422, "invalid_upload")
        assert told in detail
        assert get(tasks, "").json() == []


class TestDownload:
    @pytest.fixture
    def file_id(self, tasks: TaskClient) -> str:
        return str(made(upload(tasks, bytes(range(100)), "a \\b é.bin"))["id"])

    @pytest.mark.parametrize(
        ("wanted", "first", "end"),
        [("bytes=0-9", 0, 10), ("bytes=90-", 90, 100), ("bytes=-5", 95, 100), ("bytes=50-500", 50, 100),
         ("bytes=-500", 0, 100), ("BYTES=99-99", 99, 100)],
    )  # fmt: skip
    def test_of_a_range(self, tasks: TaskClient, file_id: str, wanted: str, first: int, end: int) -> None:
        answer = content(tasks, file_id, Range=wanted)
        assert (answer.status_code, answer.headers["content-range"]) == (206, f"bytes {first}-{end - 1}/100")
        assert answer.content == bytes(range(first, end))

    @pytest.mark.parametrize(
        "wanted", ["bytes=0-1,5-6", "items=0-1", "bytes=5-1", "bytes=", "bytes=-", "x", f"bytes={' ' * 200}0-1"]
    )
    def test_of_no_single_range_is_whole(self, tasks: TaskClient, file_id: str, wanted: str) -> None:
        answer = content(tasks, file_id, Range=wanted)
        assert (answer.status_code, len(answer.content)) == (200, 100)

    @pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=-0"])
    def test_of_a_range_outside(self, tasks: TaskClient, file_id: str, wanted: str) -> None:
        answer = content(tasks, file_id, Range=wanted)
        assert (refused(answer)[:2], answer.headers["content-range"]) == ((416, "range_not_satisfiable"), "bytes */100")

    def test_is_an_attachment_with_a_tag(self, tasks: TaskClient, file_id: str) -> None:
        answer = content(tasks, file_id)
        sha256 = hashlib.sha256(bytes(range(100))).hexdigest()
        assert answer.headers["etag"] == f'"{sha256}"'
        assert (
            answer.headers["content-disposition"]
            == "attachment; filename=\"a _b _.bin\"; filename*=UTF-8''a%20%5Cb%20%C3%A9.bin"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = content(tasks, file_id, **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        part = content(tasks, file_id, **{"If-Range": answer.headers["etag"], "Range": "bytes=0-0"})
        assert part.status_code == 206
        assert content(tasks, file_id, **{"If-Range": '"other"', "Range": "bytes=0-0"}).status_code == 200

    def test_of_another_user_is_not_found(self, client: httpx.Client, make_user: MakeUser, file_id: str) -> None:
        other, admin = task_client(client, make_user), task_client(client, make_user, "admin")
        for path in (file_id, f"{file_id}/content"):
            assert refused(get(other, path))[:2] == (404, "file_not_found")
            assert get(admin, path).status_code == 200
        assert get(other, "").json() == []

    def test_of_lost_bytes_says_so(self, tasks: TaskClient, file_id: str) -> None:
        (kept,) = bytes_kept()
        kept.unlink()
        assert refused(content(tasks, file_id))[:2] == (503, "content_missing")


def test_a_media_type_is_one_line(tasks: TaskClient) -> None:
    file = made(upload(tasks, part=("a.txt", b"x", "text/plain\t;x")))
    assert (file["content_type"], content(tasks, file["id"]).headers["content-type"]) == ("text/plain\t;x",) * 2
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: text/plain\n\n;x\r\n\r\n'
    headers = {**tasks.headers, "Content-Type": "multipart/form-data; boundary=b"}
    answer = tasks.http.post(FILES, content=head + b"x\r\n--b--\r\n", headers=headers)
    assert answer.status_code == 422 or answer.json()["content_type"] == "application/octet-stream"


def test_one_that_cannot_be_deleted_keeps_no_other(tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made(upload(tasks)), made(upload(tasks))
    for each in (first, second):
        assert tasks.http.delete(f"{FILES}{each['id']}", headers=tasks.headers).status_code == 204
    delete = Storage.delete

    def refusing(storage: Storage, keys: list[str]) -> None:
        if first["id"] in keys[0]:
            raise StorageUnavailable
        delete(storage, keys)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete", refusing)
        with SessionLocal() as db:
            assert isinstance(deletion.delete_dropped(db), StorageUnavailable)
    assert (states(), len(bytes_kept())) == (["dropped"], 1)
    swept()
    assert states() == ["dropped"]  # it waits
    changed(first["id"], delete_after=NOW)
    swept()
    assert states() == []


def test_why_a_storage_refuses_is_the_first_line_of_its_error() -> None:
    """obstore writes its error over many lines; the last one is `}`."""
    error = StorageUnavailable()
    error.__cause__ = OSError("\nGeneric S3 error: access denied\n\nDebug source:\nGeneric {\n}")
    assert deletion.reason_of(error) == "storage_unavailable: Generic S3 error: access denied"


class TestAStorageThatDoesNotDelete:
    @pytest.fixture(autouse=True)
    def no_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A directory needs none."""
        monkeypatch.setattr(subprocess, "run", None)

    @pytest.fixture
    def stuck(self, tasks: TaskClient) -> Iterator[str]:
        """The id of a file that is deleted, and whose bytes are not: a directory is in their place."""
        file_id = str(made(upload(tasks))["id"])
        (path,) = bytes_kept()
        path.unlink()
        path.mkdir()
        assert tasks.http.delete(f"{FILES}{file_id}", headers=tasks.headers).status_code == 204
        yield file_id
        path.rmdir()
        changed(file_id, delete_after=NOW)

    def looked(self) -> None:
        with SessionLocal() as db:
            DELETE_CONTENTS.run(db, Round(get_settings(), None, threading.Event()))

    def wait_of(self, file_id: str) -> float:
        with SessionLocal() as db:
            waits = seconds_between(NOW, StoredFile.delete_after)
            return float(db.scalars(select(waits).where(StoredFile.id == UUID(file_id))).one())

    def test_is_told_in_words_and_asked_again_later(
        self, tasks: TaskClient, stuck: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = made(upload(tasks))
        assert tasks.http.delete(f"{FILES}{other['id']}", headers=tasks.headers).status_code == 204
        with caplog.at_level("WARNING"):
            for _ in range(3):
                self.looked()
        (said,) = caplog.messages
        assert "storage_unavailable: [Errno" in said
        assert "directory" in said
        assert (states(), bytes_kept()) == (["dropped"], [])
        with SessionLocal() as db:
            assert statements.dropped(db, 10) == []

    @pytest.mark.parametrize(("minutes", "most"), [(0, 10), (5, 60), (60, 600), (60 * 24, 3600)])
    def test_is_asked_the_later_the_longer_it_refuses(self, stuck: str, minutes: int, most: int) -> None:
        changed(stuck, touched_at=NOW - timedelta(minutes=minutes))
        self.looked()
        assert most - 9 < self.wait_of(stuck) <= most

    def test_loses_nothing_behind_a_link(self, tasks: TaskClient, tmp_path: Path) -> None:
        file_id = made(upload(tasks))["id"]
        (path,) = bytes_kept()
        elsewhere = Path(shutil.move(path, tmp_path / "elsewhere"))
        path.symlink_to(elsewhere)
        assert tasks.http.delete(f"{FILES}{file_id}", headers=tasks.headers).status_code == 204
        self.looked()
        assert (states(), path.is_symlink(), elsewhere.exists()) == ([], False, True)


class TestArtifactsBeforeMaintenanceComes:
    """What is seen is decided by the rows of the task and its attempt."""

    def saved(self, attempt: Attempt, name: str, *, partial: bool) -> str:
        artifact_id, content = new_id(), name.encode()
        with SessionLocal() as db:
            assert statements.begin_artifact(db, artifact_id, attempt, name, "text/plain")
            storage().write(key_of(artifact_id), [content])
            digest = hashlib.sha256(content).hexdigest()
            assert statements.finish_artifact(db, artifact_id, attempt, len(content), digest, partial=partial)
            db.commit()
        return str(artifact_id)

    def saved_twice(self, tasks: TaskClient, end: Callable[[], ends.Ending]) -> tuple[str, dict[str, str]]:
        """A task, with an artifact of each kind of its first attempt, which ends so, and of the second, which succeeds."""
        saved = {}
        with SessionLocal() as db:
            task = new_task(db, UUID(tasks.user["id"]), max_attempts=3)
            for number, ending in ((1, end()), (2, ends.succeeded(None))):
                attempt = Attempt(task.id, claim(db, task).attempt)
                for partial in (False, True):
                    name = f"{number}-{'partial' if partial else 'held'}"
                    saved[name] = self.saved(attempt, name, partial=partial)
                assert ends.end_attempt(db, task.id, attempt.number, ending)
                db.commit()
        return str(task.id), saved

    def seen(self, tasks: TaskClient, task_id: str, saved: dict[str, str]) -> set[str]:
        """The names, which all readers agree on."""
        listed = {each["name"] for each in tasks.get(f"{task_id}/artifacts").json()}
        with SessionLocal() as db:
            another = new_task(db, UUID(tasks.user["id"])).id
            for name, artifact_id in saved.items():
                id_, found = UUID(artifact_id), 200 if name in listed else 404
                assert [
                    get(tasks, artifact_id).status_code,
                    content(tasks, artifact_id).status_code,
                    tasks.get(f"{task_id}/artifacts/{name}").status_code,
                ] == [found] * 3
                assert [
                    statements.read_for(db, id_, another) is not None,
                    id_ in statements.lock_named(db, [id_], UUID(tasks.user["id"])),
                    statements.add_use(db, id_, another),
                ] == [name in listed] * 3
                db.rollback()
        return listed

    def test_of_a_lost_attempt_are_none(self, tasks: TaskClient) -> None:
        for end in (partial(ends.lost, "killed"), partial(ends.handed_back, "the worker leaves")):
            task_id, saved = self.saved_twice(tasks, end)
            assert self.seen(tasks, task_id, saved) == {"2-held", "2-partial"}

    def test_of_a_failed_attempt_are_the_partial_ones(self, tasks: TaskClient) -> None:
        retried = partial(ends.retried, ERROR, NextTry(0))
        task_id, saved = self.saved_twice(tasks, retried)
        assert self.seen(tasks, task_id, saved) == {"1-partial", "2-held", "2-partial"}

    def test_of_an_earlier_attempt_stay_while_a_task_names_them(self, tasks: TaskClient) -> None:
        saved, user_id = list[str](), UUID(tasks.user["id"])
        with SessionLocal() as db:
            task = new_task(db, user_id, max_attempts=3)
            for ending in (ends.retried(ERROR, NextTry(0)), ends.succeeded(None)):
                attempt = Attempt(task.id, claim(db, task).attempt)
                saved.append(self.saved(attempt, "same", partial=True))
                assert ends.end_attempt(db, task.id, attempt.number, ending)
                db.commit()
                swept()
                assert statements.add_use(db, UUID(saved[0]), new_task(db, user_id).id)
                db.commit()
        assert [content(tasks, each).status_code for each in saved] == [200, 200]

    def test_are_no_files(self, tasks: TaskClient) -> None:
        _, saved = self.saved_twice(tasks, partial(ends.lost, "killed"))
        file = made(upload(tasks))
        assert [each["id"] for each in tasks.http.get(FILES, headers=tasks.headers).json()] == [file["id"]]
        refusal = tasks.http.delete(f"{FILES}{saved['2-held']}", headers=tasks.headers)
        assert refused(refusal)[:2] == (404, "file_not_found")
        assert content(tasks, saved["2-held"]).status_code == 200

    def test_go_with_their_task(self, client: httpx.Client, make_user: MakeUser, tasks: TaskClient) -> None:
        admin = task_client(client, make_user, "admin")
        for sweep in (False, True):
            task_id, saved = self.saved_twice(tasks, partial(ends.lost, "killed"))
            if sweep:
                swept()
            assert tasks.delete(task_id).status_code == 204
            for artifact_id in saved.values():
                assert refused(content(admin, artifact_id))[:2] == (404, "file_not_found")
                assert refused(get(admin, artifact_id))[:2] == (404, "file_not_found")

    def test_of_another_user_are_read_by_no_body_and_not_downloaded(
        self, client: httpx.Client, make_user: MakeUser
    ) -> None:
        tasks, other = task_client(client, make_user), task_client(client, make_user)
        task_id, saved = self.saved_twice(tasks, partial(ends.lost, "killed"))
        assert refused(other.get(f"{task_id}/artifacts/2-held"))[:2] == (404, "task_not_found")
        file_id = UUID(made(upload(tasks))["id"])
        with SessionLocal() as db:
            own, foreign = (new_task(db, UUID(each.user["id"])).id for each in (tasks, other))
            for each in (file_id, UUID(saved["2-held"])):
                assert statements.read_for(db, each, own) is not None
                assert statements.read_for(db, each, foreign) is None


class TestDeletion:
    def test_takes_the_bytes(self, tasks: TaskClient) -> None:
        file = made(upload(tasks))
        assert tasks.http.delete(f"{FILES}{file['id']}", headers=tasks.headers).status_code == 204
        assert refused(get(tasks, file["id"]))[:2] == (404, "file_not_found")
        assert refused(tasks.http.delete(f"{FILES}{file['id']}", headers=tasks.headers))[0] == 404
        swept()
        assert (states(), bytes_kept()) == ([], [])

    def test_frees_the_quota(self, tasks: TaskClient) -> None:
        with setting("QUOTA_STORED_BYTES", 100000):
            file = made(upload(tasks, bytes(60_000)))
            tasks.http.delete(f"{FILES}{file['id']}", headers=tasks.headers)
            # The usage is read again after a second at the latest.
            wait_for(lambda: upload(tasks, bytes(60_000)).status_code == 201, what="the quota to be free")

    def test_follows_after_its_days(self, tasks: TaskClient) -> None:
        file = made(upload(tasks))
        changed(file["id"], expires_at=NOW - timedelta(seconds=1))
        swept()
        assert refused(get(tasks, file["id"]))[0] == 404
        assert bytes_kept() == []

    def test_after_its_days_waits_for_those_that_name_it(self, tasks: TaskClient) -> None:
        named, scheduled, other = (made(upload(tasks))["id"] for _ in range(3))
        with SessionLocal() as db:
            user_id = UUID(tasks.user["id"])
            task, schedule = new_task(db, user_id), new_schedule(db, user_id)
            for each, by in ((named, task.id), (scheduled, schedule.id)):
                assert statements.add_use(db, UUID(each), by)
            db.commit()
            for each in (named, scheduled, other):
                changed(each, expires_at=NOW - timedelta(seconds=1))
            swept()
            assert [get(tasks, each).status_code for each in (named, scheduled, other)] == [200, 200, 404]
            finish(db, task)
            schedule_service.delete_schedule(db, schedule.id)
        for each in (named, scheduled):
            changed(each, expires_at=NOW - timedelta(seconds=1))
        swept()
        assert states() == []

    def test_of_the_user_takes_the_files_at_once(self, client: httpx.Client, make_user: MakeUser) -> None:
        tasks, admin = task_client(client, make_user), task_client(client, make_user, "admin")
        file = made(upload(tasks))
        assert client.delete(f"/api/v1/users/{tasks.user['id']}", headers=admin.headers).status_code == 204
        assert refused(content(admin, file["id"]))[:2] == (404, "file_not_found")
        assert [each["id"] for each in get(admin, "").json()] == []

    def test_of_an_upload_that_fell_silent(self, tasks: TaskClient) -> None:
        """As one is left by a process that was killed between the row and the last byte."""
        file = made(upload(tasks))
        changed(file["id"], state="writing", touched_at=NOW - timedelta(minutes=6))
        swept()
        assert (states(), bytes_kept()) == ([], [])

    def test_spares_an_upload_that_goes_on(self, tasks: TaskClient) -> None:
        file = made(upload(tasks))
        changed(file["id"], state="writing", touched_at=NOW - timedelta(minutes=4))
        swept()
        assert states() == ["writing"]
        assert get(tasks, "").json() == []

    def test_of_the_user_takes_all(self, client: httpx.Client, make_user: MakeUser) -> None:
        tasks, admin = task_client(client, make_user), task_client(client, make_user, "admin")
        made(upload(tasks))
        assert client.delete(f"/api/v1/users/{tasks.user['id']}", headers=admin.headers).status_code == 204
        swept()
        assert (states(), bytes_kept()) == ([], [])


def changed(file_id: str, **values: Any) -> None:
    with SessionLocal() as db:
        db.execute(update(StoredFile).where(StoredFile.id == UUID(file_id)).values(values))
        db.commit()
