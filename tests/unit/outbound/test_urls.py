"""One reading of each URL, or none."""

import json
from ipaddress import IPv6Address

import pytest

from app.catalogue import find_type
from app.errors import InvalidArguments
from app.outbound.errors import InvalidRequest
from app.outbound.targets import joined_url, parse_url
from tests.support.properties import given, st
from tests.support.settings import settings
from tests.support.tables import check_rows

FETCH = "app.tasks.common_tasks.fetch_url"

REFUSED = [
    "", " ", "example.com", "//example.com", "http:", "http://", "http:///x", "http://:80/", "http://?x",
    "ftp://e.com/", "file:///etc/passwd", "gopher://e.com/", "javascript:alert(1)", "data:,x", "unix:/run/x",
    "http+unix://%2Frun%2Fx/", "ws://e.com/", "jar:http://e.com!/",
    # addresses in other forms
    "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/",
    "http://0177.0.0.1/", "http://127.0.0.01/", "http://0/", "http://0x/", "http://127.0.0.0x1/",
    "http://1.2.3.4.5/", "http://256.1.1.1/", "http://example.0x7f/", "http://a.1/", "http://127.0.0.1.1./",
    "http://[127.0.0.1]/", "http://[::1%25lo]/", "http://[fe80::1%eth0]/", "http://[::1", "http://::1/",
    "http://[::1]evil.com/", "http://evil.com[::1]/", "http://[::1][::2]/", "http://[v1.x]/", "http://[]/",
    # credentials and confusing hosts
    "http://user@e.com/", "http://user:pw@e.com/", "http://@e.com/", "http://e.com@127.0.0.1/",
    "http://e.com\\@127.0.0.1/", "http://e.com:80@127.0.0.1/",
    "http://e.com%2f@127.0.0.1/", "http://e.com%00.evil.com/", "http://e%2ecom/", "http://e.com:/",
    "http://e.com:0/", "http://e.com:65536/", "http://e.com:-1/", "http://e.com:8_0/", "http://e.com:٨٠/",
    "http://e.com:80:80/", "http://-e.com/", "http://e-.com/", "http://e..com/", "http://.e.com/",
    f"http://{'a' * 64}.com/", f"http://{'a.' * 130}com/", "http://e,com/", "http://e.com;x/", "http://*/",
    "http://e.com℀.evil.com/", "http://xn--/", "http://ex\u00adample\u200b.com\u2028/",
    # what would break lines
    "http://e.com/\r\nX: y", "http://e.com/\nHost: z", "http://e.com/ HTTP/1.1", "http://e.com/\t",
    "h\nttp://e.com/", "http://e\r.com/", "http://e.com/\0", "\x01http://e.com/", "http://e.com/\ud800",
    "http://e.com/\x85", f"http://e.com/{'a' * 2048}",
]  # fmt: skip


class TestParse:
    def test_reads_what_is_a_url(self) -> None:
        def check(url: str, host: str, port: int, path: str) -> None:
            found = parse_url(url)
            assert (found.host, found.port, found.path) == (host, port, path)
            assert parse_url(found.url) == found

        check_rows(check, [
            ("http://example.com", "example.com", 80, "/"),
            ("HTTPS://EXAMPLE.com./a?b=c#d", "example.com", 443, "/a?b=c"),
            ("http://example.com:8080?q", "example.com", 8080, "/?q"),
            ("http://例子.测试/路径?键=值", "xn--fsqu00a.xn--0zwm56d", 80, "/%E8%B7%AF%E5%BE%84?%E9%94%AE=%E5%80%BC"),
            ("http://a_b.internal/%20", "a_b.internal", 80, "/%20"),
            ("http://[2606:4700::1111]:8443/", "2606:4700::1111", 8443, "/"),
            ("http://[::FFFF:8.8.8.8]/", str(IPv6Address("::ffff:8.8.8.8")), 80, "/"),
            ("http://１２７.0.0.1/", "127.0.0.1", 80, "/"),
            ("http://①②⑦.⓪.⓪.①/", "127.0.0.1", 80, "/"),
            ("http://127。0。0。1/", "127.0.0.1", 80, "/"),
            ("http://127.0.0.1#@e.com:@e.com/@", "127.0.0.1", 80, "/"),
            ("http://127.0.0.1?@e.com/", "127.0.0.1", 80, "/?@e.com/"),
            ("http://e.com/a<b>\"c'", "e.com", 80, "/a%3Cb%3E%22c'"),
        ])  # fmt: skip

    def test_refuses_everything_else_without_repeating_it(self) -> None:
        def check(url: str) -> None:
            with pytest.raises(InvalidRequest) as refused:
                parse_url(url)
            assert len(url) < 6 or url not in str(refused.value)

        check_rows(check, REFUSED)

    @given(st.text(max_size=60) | st.text(alphabet="htps:/@[]\\.?#%019xae\t\r\n", max_size=40).map("http://".__add__))
    def test_whatever_comes_has_one_reading_or_none(self, url: str) -> None:
        try:
            found = parse_url(url)
        except InvalidRequest:
            return
        assert parse_url(found.url) == found
        assert found.url.isascii()
        assert not set(found.url) & set("\r\n\t \\@") - set(found.path)

    def test_a_redirect_is_read_and_refused_in_the_same_way(self) -> None:
        def leads(location: str, url: str) -> None:
            assert joined_url(parse_url("https://e.com:8443/a/b"), location).url == url

        def refused(location: str) -> None:
            with pytest.raises(InvalidRequest):
                joined_url(parse_url("https://e.com/"), location)

        check_rows(leads, [
            ("/x", "https://e.com:8443/x"), ("y", "https://e.com:8443/a/y"), ("//o.com/z", "https://o.com/z"),
            ("?q", "https://e.com:8443/a/b?q"), ("http://127.0.0.1/", "http://127.0.0.1/"),
            ("/路", "https://e.com:8443/%E8%B7%AF"),
        ])  # fmt: skip
        check_rows(refused, ["file:///etc/passwd", "http://u@e.com/", "http://0x7f.1/", "/\r\nx", "//[::"])


class TestAtSubmission:
    """What the URL alone tells is answered 422, before anything is stored."""

    def refused(self, url: str, **more: object) -> str:
        with pytest.raises(InvalidArguments) as caught:
            find_type(FETCH).check([url], dict(more))
        (error,) = caught.value.errors
        assert "secret" not in str(error)
        return f"{error['loc'][1]}: {error['msg']}"

    def test_an_address_that_is_not_public_is_refused(self) -> None:
        def check(url: str) -> None:
            assert self.refused(url).startswith("url: it is not a")

        check_rows(check, [
            "http://127.0.0.1/secret", "http://169.254.169.254/secret", "http://[::1]/secret",
            "http://[::ffff:10.0.0.1]/secret", "http://8.8.8.8:25/secret", "http://１２７.0.0.1/secret",
            "http://localhost/secret", "http://LocalHost.:8000/secret", "http://a.localhost/secret",
            "http://ip6-localhost/secret", "http://ip6-loopback/secret", "http://localhost.localdomain/secret",
            "http://metadata.google.internal/secret", "http://ｌocalhost/secret",
        ])  # fmt: skip

    def test_so_is_what_is_no_url_and_no_header(self) -> None:
        assert self.refused("http://secret:secret@e.com/").startswith("url: a URL must not contain a user name")
        assert self.refused("http://0x7f.1/secret").startswith("url: an IPv4 address")
        assert self.refused("http://e.com/", headers={"Host": "secret"}).startswith("headers: the header host")
        assert self.refused("http://e.com/", headers={"X": "secret\r\nY: z"}).startswith("headers: the value")

    def test_names_and_allowed_addresses_are_taken(self) -> None:
        """Where a name leads is known only at the connection, but for local ones."""
        for allowed, url in (
            ("127.0.0.0/8", "http://127.0.0.1:9/"),
            ("127.0.0.0/8", "http://localhost:9/"),
            ("::1", "http://ip6-localhost/"),
            ("localhost", "http://localhost:22/"),
            ("*.localhost", "http://a.localhost/"),
            ("169.254.169.254", "http://metadata.google.internal/"),
            ("10.0.0.1", "http://mylocalhost.example/"),
        ):
            with settings({"OUTBOUND_ALLOW": json.dumps([allowed])}):
                find_type(FETCH).check([url], {})
