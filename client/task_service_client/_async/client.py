"""The calls of the service, with typed answers."""

from collections.abc import AsyncIterator, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar
from uuid import UUID, uuid4

import httpx

from task_service_client._async.credentials import Login, credentials_of
from task_service_client._async.following import watch_all, watch_one
from task_service_client._async.transport import IDEMPOTENCY_KEY, AsyncTransport
from task_service_client.adapters import ListOf, artifacts_of, chunks_of, files_of, lines_of, parsed, tasks_of, types_of
from task_service_client.base import Model
from task_service_client.contents import Part, Source, content_of, part_of, target_of
from task_service_client.errors import ApiError, Damaged, Unreachable
from task_service_client.models import Artifact, File, LogLine, OutputChunk, Task, TaskBatch, TaskType
from task_service_client.requests import BATCH, ENDED, FILES, PAGE, TASKS, WAIT_SECONDS, Deadline, as_body, url_of

M = TypeVar("M", bound=Model)
Piece = TypeVar("Piece", LogLine, OutputChunk)
Id = UUID | str
# The method `list` hides the type in the class.
Tasks: TypeAlias = list[Task]
TaskTypes: TypeAlias = list[TaskType]
Artifacts: TypeAlias = list[Artifact]
Bodies: TypeAlias = list[Mapping[str, Any]]
TIMEOUT_SECONDS = 30.0
DOWNLOAD_ATTEMPTS, PARTIAL_CONTENT, OUT_OF_RANGE = 10, 206, 416


class AsyncClient:
    """A client of one server. Use it as a context manager, or call `close`.

    `base_url` is the server's, `timeout` the seconds that one request may take to connect, to send and between two
    pieces of its answer. Without credentials they come from TASK_SERVICE_API_KEY, else from the profile that
    `task-service login` saved; so does `base_url`, from TASK_SERVICE_URL or the profile. Requests are repeated where
    that is safe: after a lost connection, and after 429 and 503 once `Retry-After` has passed. All methods raise
    `ApiError` where the server refuses, `NotSignedIn` without valid credentials, `Unreachable` without an answer, and
    `Unexpected` for the answer of another server.
    The texts of errors are in `language`, `en` or `zh`, as far as they are the server's.
    """

    def __init__(
        self, base_url: str | None = None, *, api_key: str | None = None, username: str | None = None,
        password: str | None = None, timeout: float = TIMEOUT_SECONDS, language: str | None = None,
    ) -> None:  # fmt: skip
        url = url_of(base_url)
        self._transport = AsyncTransport(url, credentials_of(url, api_key, username, password), timeout, language)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def login(self, username: str, password: str, otp: str | None = None) -> None:
        """Log in for this client: its tokens are in memory. `otp` is a code of a second factor."""
        login = Login(username, password, otp)
        await login.renew(self._transport.send, None)
        self._transport.credentials = login

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send any request, with httpx's options, and return its answer.

        `path` is one of the server, which gets the credentials: it begins with one `/`. Raises ValueError.
        """
        return await self._transport.request(method, path, **options)

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> AsyncIterator[httpx.Response]:
        """Yield the answers of any list, page by page."""
        return self._transport.pages(path, params)

    # Tasks

    async def submit(
        self, celery_task_name: str, *args: Any, kwargs: Mapping[str, Any] | None = None, name: str | None = None,
        task_type: str | None = None, idempotency_key: str | None = None, **fields: Any,
    ) -> Task:  # fmt: skip
        """Create a task, and return it.

        `name` and `task_type` are by default the last part of `celery_task_name`; `fields` are others of `POST
        /tasks/`, such as `priority`. A lost answer is asked for again with the same idempotency key: there is one task.
        """
        body = as_body(celery_task_name, args, kwargs, name, task_type, fields)
        headers = {IDEMPOTENCY_KEY: idempotency_key or str(uuid4())}
        return _model(Task, await self._transport.request("POST", TASKS, json=body, headers=headers))

    async def batch(self, tasks: Iterable[Mapping[str, Any]]) -> Tasks:
        """Create tasks, each a mapping of the fields of `POST /tasks/`, and return them in this order.

        They are created by the thousand, each thousand as a whole or not at all. A thousand that was created stays,
        where a later one is refused.
        """
        made: Tasks = []
        pending: Bodies = []
        for task in tasks:
            pending.append(task)
            if len(pending) == BATCH:
                made += await self._create(pending)
                pending = []
        return made + (await self._create(pending) if pending else [])

    async def _create(self, tasks: Bodies) -> Tasks:
        headers = {IDEMPOTENCY_KEY: str(uuid4())}
        answer = await self._transport.request("POST", f"{TASKS}batch", json={"tasks": tasks}, headers=headers)
        return parsed(TaskBatch, answer.content).tasks

    async def get(self, task_id: Id) -> Task:
        """Return a task."""
        return _model(Task, await self._transport.request("GET", f"{TASKS}{task_id}"))

    async def list(self, **filters: Any) -> AsyncIterator[Task]:
        """Yield the tasks that match, the newest first, page by page: `status=["failed"]`, `tag="nightly"`, …

        The filters are those of `GET /tasks/`; `q="status:failed after:24h"` is the search of the pages. `limit` is the
        size of a page.
        """
        async for answer in self.pages(TASKS, {"limit": PAGE, **filters}):
            for task in tasks_of(answer.content):
                yield task

    async def wait(self, task_id: Id, timeout: float | None = None) -> Task:
        """Return a task once it has ended. Raises TimeoutError after `timeout` seconds."""
        deadline = Deadline(timeout)
        while True:
            seconds = max(0, min(WAIT_SECONDS, deadline.left()))
            answer = await self._transport.request(
                "GET", f"{TASKS}{task_id}", params={"wait": seconds}, deadline=deadline,
                timeout=httpx.Timeout(self._transport.timeout, read=self._transport.timeout + seconds),
            )  # fmt: skip
            task = _model(Task, answer)
            if task.status in ENDED:
                return task
            if deadline.left() <= 0:
                raise TimeoutError(f"the task {task_id} is {task.status} after {timeout} seconds")

    def watch(self, *task_ids: Id) -> AsyncIterator[Task]:
        """Yield these tasks, and each of them again whenever it changes, until all have ended.

        Any number of tasks takes one connection, which is opened again where it ends. A task that is deleted meanwhile
        is not yielded any more.
        """
        ids = [str(UUID(str(each))) for each in task_ids]
        return watch_one(self._transport, ids[0]) if len(ids) == 1 else watch_all(self._transport, ids)

    async def cancel(self, task_id: Id) -> Task:
        """Cancel a task, and return it: revoked, or running until its body notices."""
        return _model(Task, await self._transport.request("POST", f"{TASKS}{task_id}/cancel", repeatable=True))

    async def retry(self, task_id: Id, *, from_start: bool = False, **changes: Any) -> Task:
        """Run an ended task again, and return it. With `changes` that is a new task with these other fields.

        `from_start` forgets the steps that it has done. A lost answer is not repeated.
        """
        params = {"from_start": "true"} if from_start else None
        path = f"{TASKS}{task_id}/retry"
        return _model(Task, await self._transport.request("POST", path, params=params, json=changes or None))

    async def delete(self, task_id: Id, *, force: bool = False) -> None:
        """Delete an ended task; with `force` an active one is cancelled first."""
        await self._transport.request("DELETE", f"{TASKS}{task_id}", params={"force": "true"} if force else None)

    async def types(self) -> TaskTypes:
        """Return the tasks that can be created, with the JSON Schema of their parameters."""
        return types_of((await self._transport.request("GET", f"{TASKS}types")).content)

    # What bodies say

    async def logs(
        self, task_id: Id, *, follow: bool = False, after: int | None = None, level: str | None = None,
        attempt: int | None = None,
    ) -> AsyncIterator[LogLine]:  # fmt: skip
        """Yield the log lines of a task, with `follow` until it has ended, after the one of `seq` `after`."""
        async for line in self._said(lines_of, f"{TASKS}{task_id}/logs", follow, after, level=level, attempt=attempt):
            yield line

    async def output(
        self, task_id: Id, *, follow: bool = False, after: int | None = None, stream: str | None = None
    ) -> AsyncIterator[OutputChunk]:
        """Yield what the bodies of a task have emitted, with `follow` until it has ended.

        A chunk of a higher `attempt` begins anew.
        """
        async for chunk in self._said(chunks_of, f"{TASKS}{task_id}/output", follow, after, stream=stream):
            yield chunk

    async def _said(
        self, read: ListOf[Piece], path: str, follow: bool, after: int | None, **filters: Any
    ) -> AsyncIterator[Piece]:
        params = {name: value for name, value in (filters | {"after": after}).items() if value is not None}
        if follow:
            async for event in self._transport.events(path, {**params, "follow": "true"}):
                if event.name in ("log", "output"):
                    yield parsed(read.model, event.data)
            return
        while True:
            answer = await self._transport.request("GET", path, params=params)
            page = read(answer.content)
            for each in page:
                yield each
            if not page or "next" not in answer.links:
                return
            params["after"] = page[-1].seq

    # Files

    async def upload(
        self, source: Source, name: str | None = None, content_type: str | None = None
    ) -> File:  # fmt: skip
        """Upload a file: a path, bytes, or what is open for reading from its start. Its id is an argument of tasks."""
        with content_of(source, name) as content:
            part = (content.name, content.file, content_type or content.content_type)

            def options() -> dict[str, Any]:
                content.file.seek(0)
                return {"files": {"file": part}}

            async with self._transport.stream("POST", FILES, options) as answer:
                await answer.aread()
                return _model(File, answer)

    async def files(self) -> AsyncIterator[File]:
        """Yield your files, the newest first."""
        async for answer in self.pages(FILES, {"limit": PAGE}):
            for file in files_of(answer.content):
                yield file

    async def delete_file(self, file_id: Id) -> None:
        """Delete a file."""
        await self._transport.request("DELETE", f"{FILES}{file_id}")

    async def artifacts(self, task_id: Id) -> Artifacts:
        """Return the artifacts of a task."""
        return artifacts_of((await self._transport.request("GET", f"{TASKS}{task_id}/artifacts")).content)

    async def download(self, file_id: Id, to: str | PathLike[str]) -> Path:
        """Write the content of a file, or of an artifact, to this path, and return it; in a directory under its name.

        It is there whole or not at all: a connection that ends is gone on with, and the SHA-256 is compared. Raises
        Damaged, ValueError for a name that no file should have, and OSError, also for a device or a pipe.
        """
        known = _model(File, await self._transport.request("GET", f"{FILES}{file_id}"))
        target = target_of(Path(to), known.name)
        with part_of(target) as part:
            for attempt in range(DOWNLOAD_ATTEMPTS):
                try:
                    await self._append(f"{FILES}{file_id}/content", known, part)
                except Unreachable:
                    if attempt + 1 == DOWNLOAD_ATTEMPTS:
                        raise
                except ApiError as error:
                    if error.status != OUT_OF_RANGE:  # else the file is shorter than the server says
                        raise
                    break
                if part.size >= known.size:
                    break
            if part.sha256() != known.sha256:
                raise Damaged(f"{target}: what came has another SHA-256 than the file {file_id}: download it again")
            part.finish()
        return target

    async def _append(self, path: str, known: File, part: Part) -> None:
        def options() -> dict[str, Any]:
            if not part.size:
                return {}
            return {"headers": {"Range": f"bytes={part.size}-", "If-Range": f'"{known.sha256}"'}}

        if known.size == 0:
            return
        async with self._transport.stream("GET", path, options) as answer:
            if answer.status_code != PARTIAL_CONTENT:
                part.restart()
            async for piece in answer.aiter_bytes():
                part.write(piece)
                if part.size > known.size:
                    return  # and not what it should be


def _model(model: type[M], answer: httpx.Response) -> M:
    return parsed(model, answer.content)
