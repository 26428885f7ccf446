"""The key of a failure: the same for messages that differ in their values alone."""

import time
from uuid import UUID

import pytest

from app.core.error_keys import KEY_CHARACTERS, READ_CHARACTERS, error_key
from tests.support.properties import given, st
from tests.support.tables import check_rows

# What no key may depend on, where it stands as a word of its own.
VALUES = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.integers(min_value=0).map(hex),
    st.uuids(version=4).filter(lambda each: any(character.isdigit() for character in str(each))).map(str),
    st.text(st.characters(exclude_characters="\n")).map(repr),
    st.text(st.characters(exclude_characters='\\"\n')).map(lambda text: f'"{text}"'),
)
WORDS = st.text(st.sampled_from("abcxyz"), min_size=1)


@given(VALUES, VALUES)
def test_a_value_does_not_matter(one: str, other: str) -> None:
    said = "row {} of the table is not valid: {}"
    assert error_key(said.format(one, other)) == error_key(said.format(other, one)) == error_key(said.format("1", "2"))


@given(WORDS, WORDS)
def test_words_matter(one: str, other: str) -> None:
    assert (error_key(f"cannot {one} it") == error_key(f"cannot {other} it")) == (one == other)


@given(WORDS, WORDS)
def test_the_origin_matters(one: str, other: str) -> None:
    assert (error_key("no", f"m:{one}") == error_key("no", f"m:{other}")) == (one == other)


def test_examples() -> None:
    def check(message: str | None, told: str) -> None:
        assert error_key(message, "module:function") == f"module:function\n{told}"

    check_rows(check, [
        (None, ""),
        ("", ""),
        ("list index out of range", "list index out of range"),
        ("cannot open file 'a b.txt' of the users' files", "cannot open file ? of the users' files"),
        ("can't find it, don't know why", "can't find it, don't know why"),
        ('key "it\'s" is missing', "key ? is missing"),
        (f"task {UUID(int=7 << 64)} is gone", "task ? is gone"),
        ("<object at 0x7f3a>", "<object at ?>"),
        ("at 12:30:01,5 on 2026/01/02", "at ? on ?"),
        ("took 1e-05 s,  not -3.5\n s", "took ? s, not ? s"),
        ("worker1@host answered 500", "?@host answered ?"),
        ("KeyError: «x»", "KeyError: ?"),
    ])  # fmt: skip


@pytest.mark.parametrize(
    "hostile", ["'a " * 10_000, "a" * 100_000, "1" * 100_000, "'" * 50_000, "?:" * 50_000, "'\\" * 9999]
)
def test_any_message_is_short_and_soon_read(hostile: str) -> None:
    started = time.process_time()
    assert len(error_key(hostile)) <= KEY_CHARACTERS + 1
    assert error_key(hostile) == error_key(hostile[:READ_CHARACTERS])
    assert time.process_time() - started < 1
