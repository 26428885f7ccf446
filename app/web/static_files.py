"""The files that the pages load, under a path that changes with their content: browsers keep them for a year."""

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, HTTPException, Request, Response

from app.web.compression import compressed

_TYPES = {
    "app.css": "text/css",
    "live.js": "text/javascript",
    "charts.js": "text/javascript",
    "copy.js": "text/javascript",
    "task.js": "text/javascript",
    "tasks.js": "text/javascript",
    "task_form.js": "text/javascript",
    "schedule_form.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}

router = APIRouter()


@cache
def static_files() -> dict[str, bytes]:
    """Return the files by name, read once."""
    return {name: files("app.web").joinpath("static", name).read_bytes() for name in _TYPES}


@cache
def static_version() -> str:
    """Return a digest of all files."""
    digest = hashlib.sha256()
    for name, content in static_files().items():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:12]


@router.get("/static/{version}/{name}")
async def static_file(request: Request, version: str, name: str) -> Response:
    """A file of the pages. Another version than the current one may be asked for by a page from before an upgrade."""
    del version
    if name not in _TYPES:
        raise HTTPException(404, "Not Found")
    return compressed(request, static_files()[name], _TYPES[name], _HEADERS, 200)
