"""Access tokens: what the service signs it reads; everything else is InvalidToken and never another exception."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from jose import jwt

from app.core import security
from app.core.config import get_settings
from app.errors import InvalidToken
from tests.support.properties import given, st
from tests.support.settings import settings
from tests.support.tables import check_rows

KEY = "a-signing-key-for-tests-0123456789abcdef"
USER, SESSION = uuid4(), uuid4()
NO_SIGNATURE = "A" * 43


@pytest.fixture(autouse=True, scope="module")
def _signing_key() -> Any:
    with settings({"SECRET_KEY": KEY}):
        yield


def own_key() -> str:
    return security._derive_key(get_settings().signing_key)


def now() -> datetime:
    return datetime.now(UTC)


def encode(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token, but for the changes; `...` leaves one out."""
    issued = int(now().timestamp())
    base = {"iss": security.ISSUER, "aud": security.AUDIENCE, "sub": str(USER), "sid": str(SESSION)}
    base |= {"jti": uuid4().hex, "iat": issued, "nbf": issued, "exp": issued + 900}
    return {name: value for name, value in (base | changes).items() if value is not ...}


def sign(body: dict[str, Any], headers: dict[str, Any] | None = None, key: str | None = None) -> str:
    """A token with a right signature, whatever else is wrong with it."""
    own = own_key()
    token: str = jwt.encode(body, key or own, "HS256", headers={"kid": security._key_id(own)} | (headers or {}))
    return token


def refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        security.read_access_token(token)


class TestGoodTokens:
    def test_name_their_user_session_and_end(self) -> None:
        read = security.read_access_token(security.create_access_token(USER, SESSION, now()))
        assert (read.user_id, read.session_id) == (USER, SESSION)
        assert timedelta(minutes=14, seconds=58) < read.expires_at - now() <= timedelta(minutes=15)

    def test_hold_no_personal_data(self) -> None:
        body = security.create_access_token(USER, SESSION, now()).split(".")[1]
        assert json.loads(security._decode(body)).keys() == {"iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"}

    def test_each_is_one_of_a_kind(self) -> None:
        assert len({security.create_access_token(USER, SESSION, now()) for _ in range(10)}) == 10

    def test_work_with_secrets_that_jose_would_misread(self) -> None:
        for secret in ('["a", "list", "of", "keys", "that", "jose", "reads"]', "-----BEGIN PUBLIC KEY-----aaaa"):
            with settings({"SECRET_KEY": secret}):
                assert security.read_access_token(security.create_access_token(USER, SESSION, now())).user_id == USER


class TestRemembered:
    """A token that was verified before is not verified again, but its time and its key are checked each time."""

    @pytest.fixture
    def verified(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        seen: list[str] = []
        verify = security._verify
        monkeypatch.setattr(security, "_verified", {})
        monkeypatch.setattr(security, "_verify", lambda token, *more: (seen.append(token), verify(token, *more))[1])
        return seen

    def test_once(self, verified: list[str]) -> None:
        token = security.create_access_token(USER, SESSION, now())
        first, second = security.read_access_token(token), security.read_access_token(token)
        assert (first, verified) == (second, [token])

    def test_not_beyond_its_time(self, verified: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        token = security.create_access_token(USER, SESSION, now())
        security.read_access_token(token)
        begun = time.time()
        for moved in (-120, 15 * 60 + 120):
            monkeypatch.setattr(time, "time", lambda moved=moved: begun + moved)
            refused(token)
        monkeypatch.setattr(time, "time", lambda: begun)
        assert security.read_access_token(token).user_id == USER

    def test_not_beyond_its_key(self, verified: list[str]) -> None:
        with settings({"SECRET_KEY": KEY}):
            token = security.create_access_token(USER, SESSION, now())
            security.read_access_token(token)
        with settings({"SECRET_KEY": KEY[::-1]}):
            refused(token)

    def test_for_its_own_kind_alone(self, verified: list[str]) -> None:
        """A token of the pages opens no API, and the other way round, whoever has read it before."""
        page = security.create_page_token(USER, SESSION, now(), now() + timedelta(hours=1))
        token = security.create_access_token(USER, SESSION, now())
        assert security.read_page_token(page).user_id == security.read_access_token(token).user_id == USER
        refused(page)
        with pytest.raises(InvalidToken):
            security.read_page_token(token)

    def test_nothing_that_was_refused(self, verified: list[str]) -> None:
        refused(sign(claims(iss="another-issuer")))
        assert security._verified == {}

    def test_so_many_and_no_more(self, verified: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(security, "_REMEMBERED_TOKENS", 2)
        for token in [security.create_access_token(USER, SESSION, now()) for _ in range(3)]:
            security.read_access_token(token)
        assert len(security._verified) == 2


class TestAttacks:
    def test_shapes(self) -> None:
        shapes = [
            "",
            ".",
            "..",
            "a.b.c",
            "x" * 100_000,
            "é.é.é",
            "a b.c.d",
            "null",
            "Bearer x",
            "\x00.\x00.\x00",
            "a.b.c.d.e",
        ]
        check_rows(refused, shapes)

    @given(st.text(max_size=200))
    def test_any_text(self, token: str) -> None:
        refused(token)

    def test_other_algorithms(self) -> None:
        key_id = security._key_id(own_key())

        def check(algorithm: object) -> None:
            header = encode({"alg": algorithm, "typ": "JWT", "kid": key_id})
            for signature in ("", NO_SIGNATURE):
                refused(f"{header}.{encode(claims())}.{signature}")

        check_rows(check, ["none", "None", "NONE", "nOnE", "", None, "HS384", "RS256", ["HS256"]])

    def test_other_hashes_with_the_right_key(self) -> None:
        key = own_key()
        for algorithm in ("HS384", "HS512"):
            refused(jwt.encode(claims(), key, algorithm, headers={"kid": security._key_id(key)}))

    def test_a_stripped_signature_and_a_swapped_payload(self) -> None:
        head, body, signature = sign(claims()).split(".")
        refused(f"{head}.{body}.")
        refused(f"{head}.{body}")
        refused(f"{head}.{encode(claims(sub=str(uuid4())))}.{signature}")

    def test_any_changed_character(self) -> None:
        token = sign(claims())
        for at in range(len(token)):
            for other in ("A", "B", "_"):
                if token[at] != other:
                    refused(token[:at] + other + token[at + 1 :])

    def test_header_tricks_with_a_right_signature(self) -> None:
        tricks: list[dict[str, Any]] = [
            {"jwk": {"kty": "oct", "k": encode(b"attacker")}}, {"jku": "https://evil.example/keys"},
            {"x5u": "https://evil.example/cert"}, {"crit": ["exp"]}, {"b64": False}, {"cty": "JWT"}, {"typ": "JWE"},
            {"typ": "x" * 10_000},
            *({"kid": kid} for kid in ("../../dev/null", "' UNION SELECT 'x", "", None, 0, ["x"])),
        ]  # fmt: skip
        check_rows(lambda headers: refused(sign(claims(), headers)), tricks)

    def test_headers_that_are_no_object_or_too_deep(self) -> None:
        headers = [
            b"[]", b"null", b"1", b'"HS256"', b"{}", b"\xff\xfe" * 10, b"not json at all", b"[" * 190,
            b'{"alg":"HS256","typ":"JWT","kid":' + b"[" * 1000 + b"]" * 1000 + b"}",
        ]  # fmt: skip
        check_rows(lambda header: refused(f"{encode(header)}.{encode(claims())}.{NO_SIGNATURE}"), headers)

    def test_another_key(self) -> None:
        refused(sign(claims(), key="another-key-0123456789-0123456789-0123"))
        refused(sign(claims(), key=KEY))

    def test_a_missing_or_wrong_claim(self) -> None:
        wrong: dict[str, list[Any]] = {
            "iss": ["another-issuer", ["task-service"] * 2], "aud": ["another-api", None], "sub": ["not a uuid", 1],
            "sid": ["' OR 1=1", None], "exp": [1, "never", 10**30, None, [9999999999]], "nbf": [9999999999],
            "iat": ["x"], "jti": [],
        }  # fmt: skip
        rows = [(claim, value) for claim, values in wrong.items() for value in (..., *values)]
        check_rows(lambda claim, value: refused(sign(claims(**{claim: value}))), rows)

    def test_an_expired_one_and_a_refresh_token(self) -> None:
        refused(security.create_access_token(USER, SESSION, now() - timedelta(minutes=17)))
        refused(security.new_refresh_token())


class TestSeveralKeys:
    """While SECRET_KEY is exchanged, `kid` says which of the accepted keys signed."""

    OLD, NEW = KEY, KEY[::-1]

    def token_of(self, secret: str) -> str:
        with settings({"SECRET_KEY": secret}):
            return security.create_access_token(USER, SESSION, now())

    def test_a_former_key_verifies_and_never_signs(self) -> None:
        old = self.token_of(self.OLD)
        with settings({"SECRET_KEY": self.NEW, "SECRET_KEY_PREVIOUS": self.OLD}):
            assert security.read_access_token(old).user_id == USER
            new = security.create_access_token(USER, SESSION, now())
        with settings({"SECRET_KEY": self.NEW}):
            assert security.read_access_token(new).user_id == USER
            refused(old)

    def test_the_next_key_is_accepted_before_it_signs(self) -> None:
        new = self.token_of(self.NEW)
        with settings({"SECRET_KEY": self.OLD, "SECRET_KEY_PREVIOUS": f"another-{KEY},{self.NEW}"}):
            assert security.read_access_token(new).user_id == USER

    def test_the_kid_of_one_key_over_the_signature_of_another(self) -> None:
        with settings({"SECRET_KEY": self.NEW, "SECRET_KEY_PREVIOUS": self.OLD}):
            new, old = (security._derive_key(secret) for secret in (self.NEW, self.OLD))
            for kid, key in ((new, old), (old, new)):
                assert security.read_access_token(sign(claims(), {"kid": security._key_id(key)}, key)).user_id == USER
                refused(sign(claims(), {"kid": security._key_id(kid)}, key))

    def test_an_unknown_kid(self) -> None:
        with settings({"SECRET_KEY": self.NEW, "SECRET_KEY_PREVIOUS": self.OLD}):
            for kid in ("00000000", "", None, 0, ["x"], {}, True):
                refused(sign(claims(), {"kid": kid}))

    def test_header_tricks_help_no_more_with_a_former_key(self) -> None:
        with settings({"SECRET_KEY": self.NEW, "SECRET_KEY_PREVIOUS": self.OLD}):
            old = security._derive_key(self.OLD)
            for tricks in ({"crit": ["exp"]}, {"jwk": {"kty": "oct", "k": "eA"}}, {"typ": "JWE"}):
                refused(sign(claims(), {"kid": security._key_id(old), **tricks}, old))


class TestRefreshTokens:
    def test_are_256_random_bits_that_are_stored_as_a_digest(self) -> None:
        tokens = {security.new_refresh_token() for _ in range(100)}
        assert len(tokens) == 100
        assert {len(security._decode(token)) for token in tokens} == {32}
        assert len(security.refresh_token_digest("x")) == 32
