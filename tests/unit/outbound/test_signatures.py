"""Signatures: the specification's own example, what a receiver refuses, and the recipe of the documents."""

import re
import time

import pytest

from app.core.config import Settings
from app.core.signatures import InvalidSignature, decode_secret, derive_user_key, encode_secret, signed_headers, verify
from tests.support.services import ROOT
from tests.support.sources import text_of
from tests.support.tables import check_rows

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, NOW, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = encode_secret(bytes(range(32)))
DOCUMENT = ROOT / "docs" / "webhooks.md"


def headers(*secrets: str) -> dict[str, str]:
    return signed_headers([decode_secret(secret) for secret in secrets], ID, NOW, BODY)


class TestSign:
    def test_gives_what_the_specifications_libraries_give(self) -> None:
        signed = {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": SIGNATURE}
        assert headers(SECRET) == signed

    def test_derive_user_keys_differ_and_stay(self) -> None:
        keys = {derive_user_key(decode_secret(secret), user) for secret in (SECRET, OTHER) for user in ("a", "b")}
        assert len(keys) == 4
        assert derive_user_key(decode_secret(SECRET), "a") in keys
        assert all(len(key) == 32 for key in keys)


class TestVerify:
    def test_takes_what_was_signed_and_gives_its_id(self) -> None:
        assert verify(SECRET, {name.title(): value for name, value in headers(SECRET).items()}, BODY, now=NOW) == ID

    def test_while_secrets_change_either_will_do(self) -> None:
        def check(receiver: list[str] | str) -> None:
            assert verify(receiver, headers(OTHER, SECRET), BODY, now=NOW) == ID

        check_rows(check, [[SECRET], [OTHER], [OTHER, SECRET], OTHER])

    def test_refuses_any_other_header(self) -> None:
        def check(name: str, other: str) -> None:
            with pytest.raises(InvalidSignature):
                verify(SECRET, headers(SECRET) | {name: other}, BODY, now=NOW)

        of_others = [
            "",
            "v1,",
            "v1,g0hM9SsE",
            "v1,é",
            SIGNATURE.replace("v1,", "v2,"),
            headers(OTHER)["webhook-signature"],
        ]
        check_rows(check, [
            ("webhook-id", "msg_other"),
            *(("webhook-timestamp", other) for other in (str(NOW + 1), "hello", f"{NOW}.0", "-1", "9" * 5000)),
            *(("webhook-signature", other) for other in of_others),
        ])  # fmt: skip

    def test_refuses_another_body_and_another_time(self) -> None:
        for body, now in ((BODY + b" ", NOW), (BODY, NOW + 301), (BODY, NOW - 301)):
            with pytest.raises(InvalidSignature):
                verify(SECRET, headers(SECRET), body, now=now)

    def test_wants_all_three_headers(self) -> None:
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            given = headers(SECRET)
            del given[name]
            with pytest.raises(InvalidSignature, match=name):
                verify(SECRET, given, BODY, now=NOW)


class TestSecret:
    def test_one_that_is_none_stops_the_start_and_is_not_printed(self) -> None:
        def check(secret: str) -> None:
            with pytest.raises(ValueError, match="webhook secret must be whsec_") as refused:
                Settings(webhook_secret=secret)
            assert secret not in str(refused.value).replace("whsec_ and", "")

        check_rows(check, [
            "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_no base64!" * 3, "whsec_" + "A" * 100,
            SECRET + " whsec_c2hvcnQ=",
        ])  # fmt: skip

    def test_several_are_written_with_spaces_between(self) -> None:
        keys = Settings(webhook_secret=f"{OTHER} {SECRET}").webhook_keys
        assert keys == [decode_secret(OTHER), decode_secret(SECRET)]
        assert Settings(webhook_secret="").webhook_keys == []


class TestDocument:
    def test_its_recipe_tells_the_true_from_the_false(self) -> None:
        sources = re.findall(r"^```python\n(.*?)^```$", text_of(DOCUMENT), flags=re.MULTILINE | re.DOTALL)
        (source,) = (each for each in sources if "def is_genuine" in each)
        recipe: dict[str, object] = {}
        exec(source, recipe)
        check = recipe["is_genuine"]
        assert callable(check)
        recent = signed_headers([decode_secret(OTHER), decode_secret(SECRET)], ID, int(time.time()), BODY)
        assert check(SECRET, recent, BODY)
        assert not check(SECRET, recent, BODY + b" ")
        assert not check(SECRET, headers(SECRET), BODY)  # of some years ago
        assert not check(encode_secret(bytes(32)), recent, BODY)
