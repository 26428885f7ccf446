"""Secrets in the database."""

import pytest

from app.core.encryption import Undecryptable, decrypt, encrypt

OLD, NEW = "old-" * 8, "new-" * 8


def test_a_value_is_read_with_the_key_and_the_context_that_it_was_written_with() -> None:
    encrypted = encrypt(b"a secret", [NEW], "user 1")
    assert decrypt(encrypted, [NEW], "user 1") == (b"a secret", True)
    assert b"secret" not in encrypted
    assert encrypt(b"a secret", [NEW], "user 1") != encrypted


def test_a_former_key_still_decrypts_and_says_that_it_is_one() -> None:
    encrypted = encrypt(b"a secret", [OLD], "user 1")
    assert decrypt(encrypted, [NEW, OLD], "user 1") == (b"a secret", False)
    assert decrypt(encrypt(b"a secret", [NEW, OLD], "user 1"), [NEW], "user 1").is_current


@pytest.mark.parametrize(
    ("keys", "context"), [([OLD], "user 1"), ([], "user 1"), ([NEW], "user 2")], ids=["key", "no-key", "context"]
)
def test_nothing_else_decrypts_it(keys: list[str], context: str) -> None:
    with pytest.raises(Undecryptable):
        decrypt(encrypt(b"a secret", [NEW], "user 1"), keys, context)


@pytest.mark.parametrize("at", [0, 1, 12, 13, -1])
def test_a_changed_value_is_none(at: int) -> None:
    changed = bytearray(encrypt(b"a secret", [NEW], "user 1"))
    changed[at] ^= 1
    with pytest.raises(Undecryptable):
        decrypt(bytes(changed), [NEW], "user 1")


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01" + b"x" * 20])
def test_what_is_too_short_is_none(value: bytes) -> None:
    with pytest.raises(Undecryptable):
        decrypt(value, [NEW], "user 1")
