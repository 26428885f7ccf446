"""What a form has sent, as a model of the API; what is wrong with it, what it confirms, where it leads back."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Form, Request, Response

from app.core import validation_errors
from app.core.validation_errors import Model
from app.errors import FieldError, InvalidInput
from app.web.responses import base_of, page

_NUMBER = re.compile(r"-?(?:[0-9]{1,9}|[0-9]{0,9}\.[0-9]{1,9})")


def parsed(model: type[Model], typed: Mapping[str, Any]) -> Model:
    """Return the model. An empty field is one that was left out. Raises InvalidInput."""
    entered = {name: value for name, value in typed.items() if value not in ("", [], None)}
    return validation_errors.parsed(model, entered, InvalidInput)


def by_field(errors: Sequence[FieldError], depth: int = 1) -> dict[str, str]:
    """Return the first error of each field of a form, whose name is the first `depth` parts of the error's place."""
    found: dict[str, str] = {}
    for each in errors:
        found.setdefault("_".join(map(str, each["loc"][:depth])), each["msg"])
    return found


def number(text: str) -> int | float | str:
    """Return the number that was typed, or the text: the models say what is wrong with it."""
    typed = text.strip()
    if not _NUMBER.fullmatch(typed):
        return typed
    return float(typed) if "." in typed else int(typed)


# -- Where a change leads back to: the page that its form stood on -----------------------------------------------------

MAX_BACK = 2000
# A page of this application: the path below `/ui` before which the browser's host stands in any case.
_BACK = re.compile(r"/(?![/\\])[!-\[\]-~]*")

# The field of a form that names its page.
Back = Annotated[str, Form(max_length=MAX_BACK)]


def checked_back(path: str, otherwise: str = "/") -> str:
    """Return the path, or the other one where it leads out of the pages."""
    return path if _BACK.fullmatch(path) else otherwise


# -- Asks before a change that cannot be taken back: by a dialog, and by a page where there is no JavaScript -----------

# Of a form that was asked about. `live.js` adds it once its dialog was answered; the page of `ask_to_confirm` has it.
Confirmed = Annotated[bool, Form()]


def ask_to_confirm(request: Request, deed: str, name: str, back: str) -> Response:
    """Return the page that asks. `deed` is one of `question` in parts.html, `name` what it is done to."""
    values = {"deed": deed, "name": name, "back": back, "action": request.url.path.removeprefix(base_of(request))}
    return page(request, "confirm.html", values)
