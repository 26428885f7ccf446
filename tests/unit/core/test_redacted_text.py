"""Secrets in messages and tracebacks: told by a key, by their shape, or because this process knows them."""

import time
from collections.abc import Iterator

import pytest

from app.core import redacted_text as module
from app.core.redacted_text import known_secrets, redact_text
from tests.support.tables import check_rows

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----"

SHOWN = [
    ("password=hunter2 user=bob", "password=*** user=bob"),
    ("password: correct horse battery", "password: ***"),
    ("{'token': 'it\\'s', 'a': 1}", "{'token': '***', 'a': 1}"),
    ('{"apiKey": "x y", "max_tokens": 512}', '{"apiKey": "***", "max_tokens": 512}'),
    ("{'password': 1234, 'password_length': 4, 'pwd': None}", "{'password': ***, 'password_length': 4, 'pwd': None}"),
    ("{'secrets': ['a', 'b'], 'x': 1}", "{'secrets': ***"),
    ("{\\'password\\': \\'x\\', \\'a\\': 1}", "{\\'password\\': \\'***', \\'a\\': 1}"),
    ("'password': 'cut in the mid", "'password': '***"),
    ("environ['PASSWORD']='x'", "environ['PASSWORD']='***'"),
    ("token == 'x'", "token == '***'"),
    ("Authorization: Bearer abcdefghi", "Authorization: ***"),
    ("sent Bearer abcdefghi1 and", "sent Bearer *** and"),
    ("Basic dXNlcjpwYXNz", "Basic ***"),
    ("Cookie: a=b; c=d\nAccept: x", "Cookie: ***\nAccept: x"),
    (f"got {JWT}.", "got ***"),
    ("postgresql://app:s3cr3t@db/app", "postgresql://app:***@db/app"),
    ("redis://:s3cr3t@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
    ("https://u:p@ss/w@host/x", "https://u:***@host/x"),
    ("https://ghp_0123456789abcdef@github.com", "https://***@github.com"),
    ("key tsk_abcdefghijklmnop123 used", "key tsk_*** used"),
    (f"before {PEM} after", "before *** after"),
    ("['psql', '--password', 'x', 'db']", "['psql', '--password', '***', 'db']"),
    ("GET /?access_token=abc&tag=b HTTP/1.1", "GET /?access_token=***&tag=b HTTP/1.1"),
    ("密码：x 密码: x", "密码：x 密码: ***"),
    ("DETAIL:  Failing row contains (1, x, {}).\nCONTEXT", "DETAIL:  Failing row contains (***).\nCONTEXT"),
    (
        "invalid input syntax for type uuid: \"x\"\nLINE 1: SELECT 'x'",
        "invalid input syntax for type uuid: ***\nLINE 1: ***",
    ),
    ("Key (email)=(a@b.c) already exists.", "Key (email)=(***)"),
    ('syntax error at or near "x"', "syntax error at or near ***"),
    ('unterminated quoted string at or near "\'x"', "unterminated quoted string at or near ***"),
    ('date/time field value out of range: "x"', "date/time field value out of range: ***"),
    ('value "99999999999" is out of range for type integer', "value *** is out of range for type integer"),
    ('malformed array literal: "x"', "malformed array literal: ***"),
    ('CONTEXT:  JSON data, line 1: {"x', "CONTEXT:  JSON data, line 1: ***"),
    # each shape alone: the first look must not let it go
    ("-----BEGIN RSA PRIVATE KEY----- x", "***"),
    ("LINE 1: 'x'", "LINE 1: ***"),
    ("invalid input syntax for uuid: x", "invalid input syntax for uuid: ***"),
    ("redis://" + "x" * 20 + "@host", "redis://***@host"),
    ("bearer abcdefgh1", "bearer ***"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "***"),
]
LEFT = [
    "http://host:8000/path?mail=a@b.com",
    "Basic authentication failed",
    "jose.exceptions.InvalidTokenError: Signature has expired",
    "SECRET_KEY is not set: tokens will not outlive this process",
    "max_tokens=512 tokens: 3",
    "if token is None:",
    "unexpected token <",
    "tsk_1a2b",
    "module.sub.name",
    "",
]
HOSTILE = [
    "password=", "password='", "password='\\", "'password': ", "://", "://:", "://a:b", "eyJ", "eyJ-", "eyJaaaaaaaaa.",
    "Bearer ", "Basic a", "tsk_", "-----BEGIN PRIVATE KEY-----", "-", "Failing row contains (", "Key (", "LINE 1", "at or near ", 'value "', "malformed ", "invalid input syntax for ", "token",
    "token-", "token: ", "--token ", "a", "\\", '"\\', "password\\", "token\"' ", "x.token:", "\n |a.b.Token:", "A.",
    "Cookie:\n", "password=(", "a:", " ", "\n",
]  # fmt: skip


def unchanged(text: str) -> None:
    assert redact_text(text) == text


def shown_as(text: str, shown: str) -> None:
    assert redact_text(text) == shown


class TestPatterns:
    def test_hide(self) -> None:
        def check(text: str, shown: str) -> None:
            assert redact_text(text) == shown
            assert redact_text(shown) == shown

        check_rows(check, SHOWN)

    def test_leave(self) -> None:
        check_rows(unchanged, LEFT)

    @pytest.mark.parametrize("piece", HOSTILE, ids=repr)
    def test_take_a_time_that_grows_with_the_text_alone(self, piece: str) -> None:
        """A quadratic pattern would take many minutes."""
        begun = time.perf_counter()
        redact_text(piece * (200_000 // len(piece)))
        assert time.perf_counter() - begun < 30


class TestKnown:
    @pytest.fixture(autouse=True)
    def known(self) -> Iterator[None]:
        known_secrets.hide("test", ["hunter2-and-more", "it's \"\né", "1234", "abc"])
        yield
        known_secrets.forget("test")

    def test_are_hidden_wherever_they_stand_until_they_are_forgotten(self) -> None:
        assert redact_text("cannot log in with hunter2-and-more!") == "cannot log in with ***!"
        assert redact_text("xhunter2-and-morex") == "x***x"
        known_secrets.forget("test")
        assert redact_text("hunter2-and-more") == "hunter2-and-more"

    def test_however_they_are_quoted(self) -> None:
        texts = ["it's \"\né", "it\\'s \"\\né", "it's \\\"\\n\\u00e9", "it%27s%20%22%0A%C3%A9"]
        check_rows(shown_as, [(f"<{text}>", "<***>") for text in texts])

    def test_short_ones_only_as_words_and_the_shortest_not_at_all(self) -> None:
        assert redact_text("pin 1234, id 12345, abc") == "pin ***, id 12345, abc"


class TestKnownOfSeveralLines:
    """Where text is printed, each line of a secret stands alone."""

    @pytest.fixture(autouse=True)
    def known(self) -> Iterator[None]:
        config = 'password: {\n  first of all: hunter2\r\n\tit\'s "a" secret\n  name:\n}'
        known_secrets.hide("test", [PEM, config, "hunter2-and-more\n", "a-pin-1\n"])
        yield
        known_secrets.forget("test")

    def test_are_hidden_line_by_line(self) -> None:
        check_rows(shown_as, [
            ("  | first of all: hunter2", "  | ***"),
            ('it\'s "a" secret', "***"),
            ("'it\\'s \"a\" secret'", "'***'"),
            ("with hunter2-and-more!", "with ***!"),
            ("a-pin-1, a-pin-12", "***, a-pin-12"),
            (f"key={PEM} after", "key=*** after"),
        ])  # fmt: skip

    def test_short_lines_are_not(self) -> None:
        assert redact_text("abc name: }") == "abc name: }"

    def test_let_the_patterns_find_other_secrets(self) -> None:
        assert redact_text(PEM.replace("MIIEow", "other")) == "***"
        assert redact_text("password: other") == "password: ***"
        assert redact_text("password: {'other': 1}") == "password: ***"


class TestTheFirstLook:
    """Most texts are let go after it: it must not let go of what a pattern would have found."""

    def test_lets_no_key_go(self) -> None:
        words = [
            "passwd", "PASSWORD", "passphrase", "passcode", "pwd", "Secret", "token", "Authorization", "authorisation",
            "credential", "cookie", "api_key", "privateKey", "access-key", "signing.key", "\u212aEY of api_key", "密码",
        ]  # fmt: skip
        check_rows(shown_as, [(f"{word}='hunter2hunter2'", f"{word}='***'") for word in words])

    def test_lets_a_usual_line_go_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_SUBSTITUTIONS", None)
        line = "Task app.tasks.example[e2052391-1024-4df0-ac1d-4c117cb04ee9] succeeded in 0.0007s: None"
        assert redact_text(line) == line
