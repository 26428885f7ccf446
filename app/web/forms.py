"""What a form has sent, as a model of the API; what is wrong with it, what it confirms, where it leads.

And the query of a page with a list, which its form and its links send.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Form, Request, Response
from pydantic import BaseModel, model_validator
from sqlalchemy.orm import Session

from app.core import validation_errors
from app.core.validation_errors import Model
from app.db.listing import Page
from app.errors import Conflict, FieldError, Forbidden, InvalidInput, QuotaExceeded
from app.services.accounts.auth_service import Principal
from app.services.user_service import user_service
from app.web.responses import base_of, page

# What the reader of a form can put right in it.
REFUSALS = (InvalidInput, Conflict, Forbidden, QuotaExceeded)
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


# -- What the pages with a list are asked for, and where their links lead ----------------------------------------------


class ListQuery(BaseModel):
    """The query of a page, beside the filter of its list: a blank field of its form is one that was left out."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_blanks(cls, sent: dict[str, Any]) -> dict[str, Any]:
        typed = {name: value.replace("\x00", "").strip() for name, value in sent.items() if isinstance(value, str)}
        return {name: value for name, value in {**sent, **typed}.items() if value != ""}

    def of(self, user: Principal) -> Self:
        """Return what the reader may ask for: administrators alone choose a user, others see their own."""
        return self if user.owner is None else self.model_copy(update={"user_id": user.owner})

    def named(self, user: Principal) -> dict[str, Any]:
        """Return what the query of this reader names, as a link names it."""
        left_out = {"user_id"} if user.owner is not None else None
        dumped = self.model_dump(mode="json", exclude=left_out, exclude_none=True)
        return {name: str(value).lower() if isinstance(value, bool) else value for name, value in dumped.items()}


def path_of(path: str, asked: Mapping[str, Any], **changed: Any) -> str:
    """Return the path with this query, in which some parameters are changed. None and blanks are left out."""
    named = {name: value for name, value in {**asked, **changed}.items() if value not in (None, "", [])}
    return f"{path}?{urlencode(named, doseq=True)}" if named else path


def next_page(found: Page[Any], path: str, asked: Mapping[str, Any] | None = None) -> str | None:
    """Return the path of the next page of this list; None where this is the last one."""
    return None if found.last is None else path_of(path, asked or {}, cursor=found.last)


def names_of_owners(db: Session, user: Principal, owners: Iterable[UUID | None]) -> dict[UUID, str]:
    """Return the names of these users by their ids. Administrators alone are told; others get none."""
    return user_service.usernames(db, {each for each in owners if each}) if user.is_admin else {}
