"""Forms as https://url.spec.whatwg.org/#urlencoded-parsing has them, in steps."""

from urllib.parse import quote_plus

import pytest

from app.api.http import body_route
from app.api.http.body_route import parse_form

FIELDS = [("name", "a&b=c +%"), ("ä", "ö\n" * 9), ("👍", "%41%" * 9), ("empty", ""), ("name", "again\x00")]


@pytest.mark.parametrize("step", range(3, 60))
def test_what_a_browser_encodes_is_read_again_whatever_the_steps(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(body_route, "_STEP_BYTES", step)
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in FIELDS)
    assert parse_form(body.encode(), 10**6).multi_items() == FIELDS


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", []),
        (b"&&a=1&", [("a", "1")]),
        (b"a", [("a", "")]),
        (b"=1", [("", "1")]),
        (b"a=1=2&a=+", [("a", "1=2"), ("a", " ")]),
        (b"a=%zz%4&b=%", [("a", "%zz%4"), ("b", "%")]),
        (b"a=\xc3\xa4%C3%A4\xff", [("a", "ää\ufffd")]),
    ],
)
def test_odd_ones(body: bytes, fields: list[tuple[str, str]]) -> None:
    assert parse_form(body, 10).multi_items() == fields


def test_many_fields_are_refused_before_they_are_parsed() -> None:
    assert len(parse_form(b"a=1&" * 9 + b"a=1", 10).multi_items()) == 10
    with pytest.raises(ValueError, match="Too many fields"):
        parse_form(b"&" * 10, 10)
