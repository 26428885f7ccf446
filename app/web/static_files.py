"""The files that the pages load, under a path that changes with their content: browsers keep them for a year."""

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, HTTPException, Request, Response

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FILES = ("app.css", "live.js", "icon.svg")
_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}

router = APIRouter()


class StaticFile(NamedTuple):
    content: bytes
    compressed: bytes
    media_type: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return the files by name, read once."""
    found = {}
    for name in _FILES:
        content = files("app.web").joinpath("static", name).read_bytes()
        found[name] = StaticFile(content, gzip.compress(content, mtime=0), _TYPES[name[name.rindex(".") :]])
    return found


@cache
def static_version() -> str:
    """Return a digest of all files."""
    digest = hashlib.sha256()
    for name, file in static_files().items():
        digest.update(name.encode() + b"\0" + file.content)
    return digest.hexdigest()[:12]


@router.get("/static/{version}/{name}")
async def static_file(request: Request, version: str, name: str) -> Response:
    """A file of the pages. Another version than the current one may be asked for by a page from before an upgrade."""
    del version
    file = static_files().get(name)
    if file is None:
        raise HTTPException(404, "Not Found")
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, media_type=file.media_type, headers=_HEADERS | {"Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=_HEADERS)
