"""Contents in a directory and in S3: whole or not at all, in pieces, and what a storage that is away or full says."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from app.core.ids import new_id
from app.errors import ContentMissing, StorageUnavailable
from app.launcher.ports import free_loopback_port
from app.storage import PART_BYTES, Storage, key_of
from tests.support.services import ROOT, process_environment
from tests.support.small_disk import needs_small_disk, run_on_small_disk
from tests.support.waiting import wait_for

BUCKET = "contents"
SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
CONTENT = [bytes([n]) * 100_000 for n in range(70)]  # more than one part of S3


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket at a server of this test's own."""
    pytest.importorskip("moto", reason="a package of tests/requirements.txt")
    url = f"http://127.0.0.1:{free_loopback_port()}"
    command = [sys.executable, "-m", "moto.server", "-p", url.rpartition(":")[2]]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as changed:
        for name, value in {**given, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}.items():
            changed.setenv(name, value)
        try:
            wait_for(lambda: _is_made(f"{url}/{BUCKET}"), 30, "the bucket")
            yield f"s3://{BUCKET}/prefix"
        finally:
            server.kill()
            server.wait()


def _is_made(bucket: str) -> bool:
    try:
        with closing(urlopen(Request(bucket, method="PUT", headers={"Authorization": SIGNED}))) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "file":
        return Storage((tmp_path / "contents").as_uri())
    return Storage(request.getfixturevalue("s3"))


@pytest.fixture
def key() -> str:
    return key_of(new_id())


def test_what_is_written_is_read_in_pieces(storage: Storage, key: str) -> None:
    storage.write(key, iter(CONTENT))
    whole = b"".join(CONTENT)
    assert b"".join(storage.pieces(key, 0, len(whole))) == whole
    assert storage.read(key, 99_999, 2) == b"\0\1"
    assert b"".join(storage.pieces(key, 5, PART_BYTES + 5)) == whole[5 : PART_BYTES + 5]


def test_so_it_is_in_an_event_loop(storage: Storage, key: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in CONTENT:
            yield piece

    async def both() -> bytes:
        await storage.write_async(key, pieces())
        return b"".join([bytes(piece) async for piece in storage.pieces_async(key, 0, 7_000_000)])

    assert asyncio.run(both()) == b"".join(CONTENT)


def test_what_is_empty_is_there(storage: Storage, key: str) -> None:
    storage.write(key, iter([]))
    assert storage.read(key, 0, 0) == b""


@pytest.mark.parametrize("before", [0, 7_000_000])
def test_what_breaks_off_leaves_nothing(storage: Storage, key: str, before: int) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(before)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        storage.write(key, broken())
    with pytest.raises(ContentMissing):
        storage.read(key, 0, 1)
    if storage.directory is not None:
        assert [path for path in storage.directory.rglob("*") if path.is_file()] == []


def test_a_content_may_be_copied_from_another_one(storage: Storage, key: str) -> None:
    storage.write(key, iter(CONTENT))
    other = key_of(new_id())
    storage.write(other, storage.pieces(key, 0, 7_000_000))
    assert storage.read(other, 0, 7_000_000) == b"".join(CONTENT)


def test_what_is_deleted_is_gone_and_may_be_deleted_again(storage: Storage, key: str) -> None:
    storage.write(key, iter([b"x"]))
    for _ in range(2):
        storage.delete([key, key_of(new_id())])
    with pytest.raises(ContentMissing):
        storage.read(key, 0, 1)


WRITING = """
import sys, time
from app.storage import Storage

def pieces():
    for _ in range(4):
        yield bytes(1024 * 1024)
    print("written", flush=True)
    time.sleep(600)

Storage(sys.argv[1]).write(sys.argv[2], pieces())
"""


def test_what_a_killed_process_was_writing_is_not_there_and_is_deleted(tmp_path: Path, key: str) -> None:
    command = [sys.executable, "-c", WRITING, tmp_path.as_uri(), key]
    with subprocess.Popen(command, cwd=ROOT, env=process_environment({}), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    storage = Storage(tmp_path.as_uri())
    with pytest.raises(ContentMissing):
        storage.read(key, 0, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] != []
    storage.delete([key])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_server_that_is_away_says_so(
    s3: str, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_loopback_port()}")
    away = Storage(s3)
    with pytest.raises(StorageUnavailable):
        away.write(key, iter([b"x"]))
    with pytest.raises(StorageUnavailable):
        away.read(key, 0, 1)
    assert caplog.messages[-1].startswith("the storage at STORAGE_URL does not work: ")


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable):
        Storage((tmp_path / "file" / "contents").as_uri()).write(key, iter([b"x"]))


FULL = """
import shutil
import sys
import time
from pathlib import Path
from app.errors import StorageFull
from app.storage import Storage

folder = Path(sys.argv[1])
storage = Storage(folder.as_uri())
try:
    storage.write("aa/large", iter([bytes(1024 * 1024)] * 20))
except StorageFull:
    end = time.monotonic() + 20  # obstore cleans up behind the answer
    while shutil.disk_usage(folder).free < 7 * 1024 * 1024 and time.monotonic() < end:
        time.sleep(0.02)
    print([path.name for path in folder.rglob("*") if path.is_file()])
storage.write("aa/small", iter([b"x"]))
print(storage.read("aa/small", 0, 1))
"""


@needs_small_disk
def test_a_full_disk_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    done = run_on_small_disk(FULL, tmp_path, process_environment({}))
    assert done.stdout.splitlines() == ["[]", "b'x'"], done.stderr


def test_a_child_of_a_process_that_has_used_it_is_refused(tmp_path: Path, key: str) -> None:
    """It would wait for ever for threads that are not there."""
    storage = Storage(tmp_path.as_uri())
    storage.write(key, iter([b"x"]))
    child = os.fork()
    if child == 0:
        try:
            Storage(tmp_path.as_uri()).read(key, 0, 1)
        except StorageUnavailable:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
