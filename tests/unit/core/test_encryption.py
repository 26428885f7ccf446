"""Secrets in the database."""

import pytest

from app.core.security import Undecryptable, decrypt, encrypt
from tests.support.tables import check_rows

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


def refused(value: bytes, keys: list[str], context: str = "user 1") -> None:
    with pytest.raises(Undecryptable):
        decrypt(value, keys, context)


def test_neither_another_key_nor_another_context_decrypts_it() -> None:
    encrypted = encrypt(b"a secret", [NEW], "user 1")
    refused(encrypted, [OLD])
    refused(encrypted, [])
    refused(encrypted, [NEW], "user 2")


def test_a_changed_value_and_a_short_one_are_none() -> None:
    def changed(at: int) -> None:
        value = bytearray(encrypt(b"a secret", [NEW], "user 1"))
        value[at] ^= 1
        refused(bytes(value), [NEW])

    check_rows(changed, [0, 1, 12, 13, -1])
    check_rows(lambda value: refused(value, [NEW]), [b"", b"\x01", b"\x01" + b"x" * 20])
