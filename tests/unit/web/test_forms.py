"""What a form has sent, and what is wrong with it."""

import pytest

from app.errors import InvalidInput
from app.schemas.user import UserCreate
from app.web.forms import by_field, number, parsed
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
