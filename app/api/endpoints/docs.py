"""Swagger UI and the OpenAPI document, from here alone: no CDN, no inline script. Closed where DOCS_ENABLED says so.

The files of Swagger UI come with the package fastapi-swagger; nothing of its code is used.
"""

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from app.api.http.openapi import describe
from app.core.config import get_settings

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
# Swagger UI sets style attributes and draws with data: images; scripts come from files only.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
# What the page needs to run, in a file of its own so that the policy can forbid inline scripts.
_START = """\
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis],
});
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{base}/docs/favicon-32x32.png">
<link rel="stylesheet" href="{base}/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{base}/docs/swagger-ui-bundle.js"></script>
<script src="{base}/docs/start.js"></script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


def _require_open() -> None:
    if not get_settings().docs_open:
        raise HTTPException(404, "Not Found")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    _require_open()
    return JSONResponse(_describe_here(request))


@router.get("/docs")
async def docs(request: Request) -> Response:
    _require_open()
    page = _PAGE.format(title=request.app.title, base=request.scope.get("root_path", "").rstrip("/"))
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    _require_open()
    return Response(_START, media_type="text/javascript")


@router.get("/docs/{name}")
def asset(name: str) -> Response:
    _require_open()
    if name not in ASSETS:
        raise HTTPException(404, "Not Found")
    content = (files("fastapi_swagger") / "resources" / name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers={"Cache-Control": "public, max-age=86400"})


def _describe_here(request: Request) -> dict[str, Any]:
    """Behind a proxy that strips a prefix, the paths are below it."""
    document = describe(request.app)
    prefix = request.scope.get("root_path", "").rstrip("/")
    return document | {"servers": [{"url": prefix}]} if prefix else document
