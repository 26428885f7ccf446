"""Asks before a change that cannot be taken back: by a dialog, and by a page where there is no JavaScript."""

from typing import Annotated

from fastapi import Form, Request, Response

from app.web.rendering import base_of, page

# Of a form that was asked about. `live.js` adds it once its dialog was answered, and the page of `ask` has it.
Confirmed = Annotated[bool, Form()]


def ask(request: Request, deed: str, name: str, back: str) -> Response:
    """Return the page that asks. `deed` is one of `question` in parts.html, `name` what it is done to."""
    values = {"deed": deed, "name": name, "back": back, "action": request.url.path.removeprefix(base_of(request))}
    return page(request, "confirm.html", values)
