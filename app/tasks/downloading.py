"""The implementation of `fetch_to_file`: a request whose content goes to a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from app.outbound import Answer, Bounds, Client
from app.outbound.targets import parse_url
from app.services.files.contents import Measure, media_type, name_fault
from app.tasks.http_status import CLIENT_ERROR, AnsweredNo, describe, is_retryable, retryable_error


def _checked(name: str) -> str:
    if fault := name_fault(name):
        raise ValueError(fault)
    return name


FileName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checked)]
# For the whole content: the worker's own time limit ends a slower one.
SECONDS = 6 * 3600
Report = Callable[[float | None, Any], None]


@dataclass(frozen=True)
class Download:
    """One request. `name`: of the artifact; None for the last part of the URL."""

    url: str
    name: str | None
    max_bytes: int

    def run(self, path: Path, report: Report, save: Callable[..., str | None]) -> dict[str, Any]:
        """Fetch the content to `path`, save it, and return the task's result.

        Raises OutboundError, AnsweredLater, AnsweredNo.
        """
        bounds = Bounds(seconds=SECONDS, max_bytes=self.max_bytes)
        with Client(bounds=bounds).stream("GET", self.url) as answer:
            _check_status(answer)
            content = Measure(self.max_bytes)
            with path.open("wb") as file:
                for piece in answer.pieces():
                    file.write(content.add(piece))
                    percent = min(99, answer.received * 99 // answer.length) if answer.length else None
                    report(percent, {"bytes": answer.received, "total": answer.length})
            kind = media_type(answer.headers.get("content-type"))
            name = self.name or name_of(answer.url)
            known = {"url": answer.url, "name": name, "size": content.size, "sha256": content.sha256}
        return {**known, "content_type": kind, "artifact": save(name, path, kind)}


def name_of(url: str) -> str:
    """Return the last part of the URL's path as the name of a file, `download` where that is none."""
    last = unquote(PurePosixPath(urlsplit(url).path).name)[:200]
    return "download" if name_fault(last) else last


def _check_status(answer: Answer) -> None:
    origin = parse_url(answer.url).origin
    if is_retryable(answer.status):
        raise retryable_error(origin, answer.status, answer.headers)
    if answer.status >= CLIENT_ERROR:
        raise AnsweredNo(describe(origin, answer.status))
