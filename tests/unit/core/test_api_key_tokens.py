"""The text of API keys."""

import re

import pytest

from app.core import security as tokens
from app.core.security import read_access_token
from app.errors import InvalidToken
from tests.support.properties import given, st
from tests.support.tables import check_rows


def test_are_recognisable_and_one_of_a_kind() -> None:
    keys = {tokens.new_api_key() for _ in range(200)}
    assert len({key[13:56] for key in keys}) == 200
    for key in keys:
        # What docs/api-keys.md gives to secret scanners.
        assert re.fullmatch(r"tsk_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", key)
        assert tokens.looks_like_api_key(key)
        assert tokens.is_well_formed_api_key(key)


def test_hold_256_random_bits_beside_what_is_shown_and_are_stored_as_a_digest() -> None:
    key = tokens.new_api_key()
    secret = key.removeprefix(tokens.shown_api_key_prefix(key) + "_")[: -tokens._API_KEY_CHECKSUM]
    assert len(tokens._API_KEY_ALPHABET) ** len(secret) >= 2**256
    assert len(tokens.api_key_digest(key)) == 32
    assert len(set(tokens._API_KEY_ALPHABET)) == 62


def test_any_changed_character_is_noticed() -> None:
    key = tokens.new_api_key()
    for at in range(len(key)):
        other = "A" if key[at] != "A" else "B"
        assert not tokens.is_well_formed_api_key(key[:at] + other + key[at + 1 :])


def test_what_is_nearly_a_key_is_none() -> None:
    key = tokens.new_api_key()
    nearly = [key + "\n", " " + key, key[:-1], key + "a", key.lower()]
    check_rows(lambda text: not tokens.is_well_formed_api_key(text), nearly)


@given(st.text(max_size=100))
def test_any_text_is_none_and_raises_nothing(text: str) -> None:
    assert not tokens.is_well_formed_api_key(text)
    assert not tokens.is_well_formed_api_key(tokens.API_KEY_MARK + text)


def test_are_no_access_tokens() -> None:
    with pytest.raises(InvalidToken):
        read_access_token(tokens.new_api_key())
