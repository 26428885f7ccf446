"""What is refused as too easy to guess."""

import pytest

from app.core.common_passwords import is_common, is_one_of


@pytest.mark.parametrize(
    "password",
    ["password", "PassWord", "12345678", "password1", "qwertyuiop", "iloveyou", "elizabeth", "strawberry",
     "ｐａｓｓｗｏｒｄ", "changeme "],
)  # fmt: skip
def test_what_attackers_try_first_is_common(password: str) -> None:
    assert is_common(password)


@pytest.mark.parametrize(
    "password",
    ["correct horse battery staple", "a-good-password", "密码密码密码密码", " " * 8, "x" * 1024, "\U0001f600" * 1024,
     "pass\x00word", "password password", "password\nfootball"],
)  # fmt: skip
def test_others_are_not(password: str) -> None:
    assert not is_common(password)


@pytest.mark.parametrize(
    "password", ["anna.smith", "ANNA.SMITH", "A.Smith.42@Example.com", " anna.smith", "a.smith.42"]
)
def test_the_users_own_name_and_address_are_known(password: str) -> None:
    assert is_one_of(password, ("Anna.Smith", "a.smith.42@example.com"))


def test_a_password_that_holds_the_name_is_another_thing() -> None:
    assert not is_one_of("anna.smith rides a horse", ("anna.smith", "anna.smith@example.com"))
