"""Codes of authenticators, against the test vectors of RFC 6238, and recovery codes."""

import base64
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from app.core import one_time_codes as codes
from tests.support.tables import check_rows

SECRET = base64.b32encode(b"12345678901234567890").decode()  # RFC 6238, Appendix B
# Its times and codes for SHA-1, of which authenticators show the last six digits.
VECTORS = [
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (20000000000, "353130"),
]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class TestTotp:
    def test_of_the_rfc(self) -> None:
        def check(seconds: int, code: str) -> None:
            assert codes.matching_step(SECRET, code, at(seconds), None) == seconds // 30

        check_rows(check, VECTORS)

    def test_clocks_may_differ_by_one_step(self) -> None:
        def check(drift: int, fits: bool) -> None:
            start_of_a_step = 1234567890 // 30 * 30
            step = codes.matching_step(SECRET, "005924", at(start_of_a_step + drift), None)
            assert step == (1234567890 // 30 if fits else None)

        check_rows(check, [(-61, False), (-59, False), (-30, True), (0, True), (30, True), (60, False)])

    def test_of_the_last_used_step_or_an_earlier_one_is_used_up(self) -> None:
        step = 1234567890 // 30
        assert codes.matching_step(SECRET, "005924", at(1234567890), step - 1) == step
        assert codes.matching_step(SECRET, "005924", at(1234567890), step) is None
        assert codes.matching_step(SECRET, "005924", at(1234567890), step + 1) is None

    def test_nothing_else_fits(self) -> None:
        def check(code: str) -> None:
            assert codes.matching_step(SECRET, code, at(1234567890), None) is None

        check_rows(check, ["", "5924", "0005924", "005925", "٠٠٥٩٢٤", "005924\n", "é" * 6])

    def test_a_secret_has_160_bits_and_its_uri_names_service_and_user(self) -> None:
        secret = codes.new_secret()
        assert len(base64.b32decode(secret)) == 20
        assert secret != codes.new_secret()
        uri = urlsplit(codes.provisioning_uri(secret, "anna"))
        assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Task%20Service:anna")
        assert parse_qs(uri.query) == {"secret": [secret], "issuer": ["Task Service"]}


class TestRecoveryCodes:
    def test_are_ten_of_120_bits(self) -> None:
        made = codes.new_recovery_codes()
        assert len(set(made)) == 10
        assert all(len(base64.b32decode(codes.normalized(code).upper())) * 8 == 120 for code in made)

    def test_are_read_as_people_type_them(self) -> None:
        code = codes.new_recovery_codes()[0]
        assert (
            codes.normalized(f" {code.upper()} ") == codes.normalized(code.replace("-", " ")) == code.replace("-", "")
        )
        assert codes.normalized("005 924") == "005924"
        assert codes.normalized(" - ") == ""
