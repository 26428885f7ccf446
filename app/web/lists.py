"""What the pages with a list are asked for: the query that their forms and links send, and where those lead."""

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlencode

from pydantic import BaseModel, model_validator

from app.db.listing import Page
from app.services.accounts.auth_service import Principal


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
