"""What a form has sent, and what is wrong with it."""

from uuid import uuid4

import pytest

from app.db.listing import Page
from app.errors import InvalidInput
from app.schemas.user import UserCreate
from app.services.accounts.auth_service import Principal
from app.web.forms import by_field, next_page, number, parsed, path_of
from app.web.views.schedules import Asked
from tests.support.tables import check_rows

TYPED = {"username": "anna", "email": "anna@example.com", "password": "x"}


def test_a_form_is_the_model_of_the_api() -> None:
    assert parsed(UserCreate, TYPED | {"weight": 3, "role": ""}).weight == 3


def test_each_field_has_the_first_of_its_errors() -> None:
    with pytest.raises(InvalidInput) as refused:
        parsed(UserCreate, TYPED | {"username": "x", "weight": "heavy", "email": ""})
    assert by_field(refused.value.errors) == {
        "username": "must have 3 to 64 characters of A-Z a-z 0-9 . _ - and begin with none of . _ -",
        "weight": "must be a number",
        "email": "is required",
    }
    refused.value.errors[0]["loc"] = ["rate", "count", 0]
    assert "rate_count" in by_field(refused.value.errors, depth=2)


def test_what_looks_like_a_number_is_one() -> None:
    read = {
        "7": 7,
        "007": 7,
        "": "",
        "-1": -1,
        " 1.5 ": 1.5,
        ".5": 0.5,
        ".": ".",
        "1e3": "1e3",
        "٣": "٣",
        "9" * 5000: "9" * 5000,
    }
    check_rows(lambda text, value: number(text) == value, read.items())


class TestTheQueryOfAList:
    USER, ADMIN = (Principal(uuid4(), role, role, "critical") for role in ("user", "admin"))

    def test_leaves_out_blanks_and_is_named_as_it_was_typed(self) -> None:
        asked = Asked.model_validate({"name": " a\0b ", "tag": "", "paused": "false", "celery_task_name": " "})
        assert (asked.name, asked.tag, asked.paused, asked.celery_task_name) == ("ab", None, False, None)
        assert asked.named(self.USER) == {"name": "ab", "paused": "false"}

    def test_is_of_another_user_for_administrators_alone(self) -> None:
        someone = uuid4()
        asked = Asked.model_validate({"user_id": str(someone)})
        assert [asked.of(user).user_id for user in (self.USER, self.ADMIN)] == [self.USER.id, someone]
        assert [asked.named(user) for user in (self.USER, self.ADMIN)] == [{}, {"user_id": str(someone)}]

    def test_leads_on(self) -> None:
        assert path_of("/x", {"a": "1 2", "b": None, "c": ["d", "e"]}, f="", a="3&") == "/x?a=3%26&c=d&c=e"
        assert path_of("/x", {}) == "/x"
        assert [next_page(Page([], last), "/x", {"a": "1"}) for last in (None, "c")] == [None, "/x?a=1&cursor=c"]
