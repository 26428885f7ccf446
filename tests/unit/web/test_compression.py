"""What a browser says of compressed answers."""

from app.web.responses import prefers_gzip
from tests.support.tables import check_rows


def test_gzip_is_sent_to_who_takes_it() -> None:
    """The examples of RFC 9110 §12.5.3 are among them."""

    def check(accept_encoding: str, is_gzipped: bool) -> None:
        assert prefers_gzip(accept_encoding) is is_gzipped

    check_rows(check, [
        ("gzip, deflate, br, zstd", True), ("compress, gzip", True), ("*", True), ("GZip", True), ("x-gzip", True),
        ("compress;q=0.5, gzip;q=1.0", True), ("gzip;q=1.0, identity; q=0.5, *;q=0", True), ("gzip ; Q=0.001", True),
        ("identity;q=0, *", True), ("deflate, *;q=0.1", True), ("gzip;q=0.5, br;q=1", True),
        ("", False), ("deflate", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.000, br", False),
        ("*;q=0", False), ("*, gzip;q=0", False), ("gzip;q=0.2, identity", False), ("gzip;q=2", False),
        ("gzip;q=x", False), ("gzip;level=9", False), ("gzippy", False), ("not-gzip", False), (",,", False),
    ])  # fmt: skip
