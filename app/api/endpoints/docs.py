"""Serves `/`, Swagger UI and the OpenAPI document, without a CDN or inline scripts. DOCS_ENABLED closes the latter two.

The files of Swagger UI come from the package fastapi-swagger, whose code is not used.
"""

from copy import deepcopy
from importlib.resources import files
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from app.api.deps import SettingsDep
from app.api.http.openapi import openapi_document

ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon-32x32.png": "image/png"}
# Swagger UI sets style attributes and uses data: images. Scripts come from files only.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
# The start script is a file of its own, so that the policy can forbid inline scripts.
_START = """\
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
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


async def _require_open(settings: SettingsDep) -> None:
    if not settings.docs_open:
        raise HTTPException(404, "Not Found")


router = APIRouter(include_in_schema=False, dependencies=[Depends(_require_open)])
root_router = APIRouter(include_in_schema=False)


@root_router.get("/")
async def root(request: Request, settings: SettingsDep) -> Response:
    """A browser is sent to the pages, or to the documentation; other clients get name, version and links."""
    base = request.scope.get("root_path", "").rstrip("/")
    if "text/html" in request.headers.get("accept", "") and (settings.web_ui or settings.docs_open):
        return RedirectResponse(f"{base}/ui/" if settings.web_ui else f"{base}/docs")
    links = {"health": f"{base}/healthz", "readiness": f"{base}/readyz"}
    if settings.web_ui:
        links["pages"] = f"{base}/ui/"
    if settings.docs_open:
        links |= {"documentation": f"{base}/docs", "openapi": f"{base}/openapi.json"}
    return JSONResponse({"name": request.app.title, "version": request.app.version, "links": links})


@root_router.get("/ui")
async def pages(request: Request, settings: SettingsDep) -> Response:
    """The pages begin behind the slash."""
    if not settings.web_ui:
        raise HTTPException(404, "Not Found")
    return RedirectResponse(f"{request.scope.get('root_path', '').rstrip('/')}/ui/")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    return JSONResponse(await anyio.to_thread.run_sync(_describe_here, request))  # it takes half a second, once


@router.get("/docs")
async def docs(request: Request) -> Response:
    page = _PAGE.format(title=request.app.title, base=request.scope.get("root_path", "").rstrip("/"))
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    return Response(_START, media_type="text/javascript")


@router.get("/docs/{name}")
def asset(name: str) -> Response:
    if name not in ASSETS:
        raise HTTPException(404, "Not Found")
    content = (files("fastapi_swagger") / "resources" / name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers={"Cache-Control": "public, max-age=86400"})


def _describe_here(request: Request) -> dict[str, Any]:
    """Return the document. Behind a proxy that strips a prefix, its URLs include the prefix."""
    document = openapi_document(request.app)
    prefix = request.scope.get("root_path", "").rstrip("/")
    if prefix:
        document = deepcopy(document) | {"servers": [{"url": prefix}]}
        for flow in document["components"]["securitySchemes"]["Login"]["flows"].values():
            flow.update({name: prefix + flow[name] for name in ("tokenUrl", "refreshUrl")})
    return document
