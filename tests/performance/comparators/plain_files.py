"""A bare Starlette application that reads the form of an upload, and sends a file."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

PIECE = 1024 * 1024


async def upload(request: Request) -> Response:
    size = 0
    async with request.form() as form:
        file = form["file"]
        assert not isinstance(file, str)
        while piece := await file.read(PIECE):
            size += len(piece)
    return JSONResponse({"size": size})


async def download(_: Request) -> Response:
    return FileResponse(os.environ["PLAIN_FILE"])


app = Starlette(routes=[Route("/files", upload, methods=["POST"]), Route("/content", download)])
