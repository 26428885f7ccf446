"""Where the socket goes: to the very address that was checked, whatever the name, the resolver or a redirect says."""

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.core.host_rules import HostRules
from app.outbound import Client, WholeAnswer, network
from app.outbound.errors import AddressRefused, CertificateRefused, NotConnected, RedirectRefused
from app.outbound.targets import Policy
from tests.support.tables import check_rows
from tests.support.tls import Authority
from tests.unit.outbound.web_server import FakeResolver, Web, client, redirect, reply, web_server

METADATA = "169.254.169.254"


class TestResolution:
    def test_the_name_is_asked_once_and_the_socket_goes_to_the_answer(self, web: Web, connected: list[object]) -> None:
        web.answer["/"] = reply(body=b"hello")
        resolver = FakeResolver(service_example=[["127.0.0.1"], ["127.0.0.2"]])
        answer = client(resolver).request("GET", web.url(host="service.example"))
        assert (answer.status, answer.content, answer.url) == (200, b"hello", web.url(host="service.example"))
        assert resolver.asked == ["service.example"]
        assert connected == [("127.0.0.1", web.port)]
        assert web.seen[0].headers["host"] == f"service.example:{web.port}"

    def test_nothing_below_asks_the_machines_resolver(self, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*arguments: object, **named: object) -> None:
            raise AssertionError(f"asked for {arguments}")

        for function in ("getaddrinfo", "gethostbyname", "create_connection"):
            monkeypatch.setattr(socket, function, never)
        web.answer["/"] = reply()
        assert client(FakeResolver(a_example=[["127.0.0.1"]])).request("GET", web.url(host="a.example")).status == 200

    def test_a_name_that_leads_inside_is_refused_with_no_socket(self, web: Web, connected: list[object]) -> None:
        def check(address: str) -> None:
            for good in ([], ["127.0.0.1"]):
                with pytest.raises(AddressRefused) as refused:
                    client(FakeResolver(a_example=[[*good, address]])).request("GET", web.url(host="a.example"))
                assert connected == []
                assert address not in str(refused.value)

        check_rows(check, [METADATA, "127.0.0.2", "10.0.0.1", "::1", "::ffff:127.0.0.1"])

    def test_a_name_is_checked_anew_at_each_connection(self, web: Web, connected: list[object]) -> None:
        """Rebinding: the same name, on the same port, leads elsewhere at the redirect."""
        web.answer["/"] = redirect("/again")
        resolver = FakeResolver(a_example=[["127.0.0.1"], [METADATA]])
        with pytest.raises(AddressRefused):
            client(resolver).request("GET", web.url(host="a.example"))
        assert resolver.asked == ["a.example"] * 2
        assert connected == [("127.0.0.1", web.port)]

    def test_the_next_checked_address_is_tried_after_one_without_an_answer(
        self, web: Web, connected: list[object]
    ) -> None:
        web.answer["/"] = reply()
        allowed = Policy(allowed=HostRules.of(["127.0.0.0/8"]))
        resolver = FakeResolver(a_example=[["127.0.0.2", "127.0.0.1"]])
        assert client(resolver, allowed).request("GET", web.url(host="a.example")).status == 200
        assert [each[0] for each in connected] == ["127.0.0.2", "127.0.0.1"]

    def test_an_unknown_name_may_be_known_later(self) -> None:
        with pytest.raises(NotConnected, match=r"^no\.example has no address"):
            client().request("GET", "http://no.example/")

    def test_a_resolver_that_hangs_is_given_up(self) -> None:
        over = threading.Event()

        def hang(host: str, port: int) -> list[network.Address]:
            over.wait(10)
            return []

        with pytest.raises(NotConnected, match="in time"):
            client(hang, connect_seconds=0.1).request("GET", "http://a.example/")
        over.set()

    def test_the_machines_own_resolver_is_the_default(self, web: Web) -> None:
        web.answer["/"] = reply()
        allowed = Policy(allowed=HostRules.of(["127.0.0.1", "::1"]))
        assert Client(allowed).request("GET", web.url(host="localhost")).status == 200
        with pytest.raises(AddressRefused):
            Client(Policy()).request("GET", web.url(host="localhost"))
        assert len(web.seen) == 1

    def test_an_address_in_the_url_is_checked_as_well(self, web: Web) -> None:
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"):
            with pytest.raises(AddressRefused):
                client(policy=Policy()).request("GET", web.url(host=host))
        assert web.seen == []

    def test_no_proxy_of_the_environment_is_used(self, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, web.url())
        with pytest.raises(NotConnected):
            client().request("GET", "http://no.example/")
        assert web.seen == []


class TestRedirects:
    def test_none_leads_inside(self, web: Web, connected: list[object]) -> None:
        def check(location: str) -> None:
            connected.clear()
            web.answer["/"] = redirect(location)
            resolver = FakeResolver(a_example=[["127.0.0.1"]], localhost=[["::1"]], inside_example=[["192.168.0.1"]])
            with pytest.raises((AddressRefused, RedirectRefused)):
                client(resolver).request("GET", web.url(host="a.example"))
            assert connected == [("127.0.0.1", web.port)]

        check_rows(check, [
            f"http://{METADATA}/latest/", "//localhost/", "http://[::1]:6379/", "http://10.0.0.1/", "http://0x7f.1/",
            "http://2130706433/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "http://u:p@127.0.0.1/",
            "http://inside.example/",
        ])  # fmt: skip

    def test_five_are_followed_and_no_sixth(self, web: Web) -> None:
        web.answer |= {f"/{number}": redirect(f"/{number + 1}") for number in range(7)} | {"/5": reply(body=b"end")}
        assert client().request("GET", web.url("/0")).content == b"end"
        web.answer["/5"] = redirect("/6")
        with pytest.raises(RedirectRefused, match="more than 5"):
            client().request("GET", web.url("/0"))
        assert [each.path for each in web.seen[6:]] == ["/0", "/1", "/2", "/3", "/4", "/5"]

    def test_another_origin_gets_no_secret(self, web: Web) -> None:
        sent = {"Authorization": "Bearer s", "Cookie": "s", "X-Api-Key": "s", "Private-Token": "s", "Accept": "a/b"}
        with web_server() as other:
            web.answer["/"] = redirect("/same")
            web.answer["/same"] = redirect(other.url())
            client().request("GET", web.url(), headers=sent)
            assert [web.seen[1].headers[name] for name in ("authorization", "x-api-key")] == ["Bearer s", "s"]
            (seen,) = other.seen
        assert seen.headers["accept"] == "a/b"
        assert not {"authorization", "cookie", "x-api-key", "private-token"} & seen.headers.keys()

    def test_methods_change_as_in_browsers(self, web: Web) -> None:
        def check(status: int, method: str, then: str) -> None:
            web.answer |= {"/": redirect("/x", status), "/x": reply()}
            content = b"{}" if method in {"POST", "PUT"} else None
            client().request(method, web.url(), headers={"Content-Type": "a/b"}, content=content)
            seen, kept = web.seen[-1], method == then
            assert (seen.path, seen.method) == ("/x", then)
            assert seen.body == (content if kept and content else b"")
            assert ("content-type" in seen.headers) is kept

        check_rows(check, [
            (301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD"), (301, "PUT", "PUT"),
            (307, "POST", "POST"), (308, "POST", "POST"), (302, "HEAD", "HEAD"), (302, "DELETE", "DELETE"),
        ])  # fmt: skip

    def test_what_is_none_is_an_answer(self, web: Web) -> None:
        def check(status: int, answer: Any) -> None:
            web.seen.clear()
            web.answer["/"] = answer
            assert client().request("GET", web.url()).status == status
            assert len(web.seen) == 1

        check_rows(
            check, [(300, redirect("/x", 300)), (304, redirect("/x", 304)), (302, reply(302)), (302, redirect("", 302))]
        )

    def test_they_can_be_turned_off(self, web: Web) -> None:
        web.answer["/"] = redirect("/x")
        assert client(max_redirects=0).request("GET", web.url()).status == 302


class TestTLS:
    @pytest.fixture
    def secure(self, authority: Authority) -> Iterator[Web]:
        with web_server(authority.server(address="service.example")) as web:
            web.answer["/"] = reply(body=b"secret")
            yield web

    @staticmethod
    def get(web: Web, host: str = "service.example", tls: Any = None) -> WholeAnswer:
        names = FakeResolver(service_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
        return client(names, tls=tls).request("GET", web.url("/", host, "https"))

    def test_certificate_sni_and_host_are_the_names(
        self, secure: Web, authority: Authority, connected: list[object]
    ) -> None:
        assert self.get(secure, tls=authority.trusted).content == b"secret"
        assert secure.names == ["service.example"]
        assert connected == [("127.0.0.1", secure.port)]
        assert secure.seen[0].headers["host"] == f"service.example:{secure.port}"

    @pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
    def test_another_names_certificate_is_refused(self, secure: Web, authority: Authority, host: str) -> None:
        with pytest.raises(CertificateRefused, match="certificate"):
            self.get(secure, host, authority.trusted)
        assert secure.seen == []

    def test_an_unknown_authority_is_refused(self, secure: Web) -> None:
        with pytest.raises(CertificateRefused):
            self.get(secure)
        assert secure.seen == []

    def test_the_machines_authorities_are_the_default(
        self, secure: Web, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert self.get(secure).status == 200

    def test_an_address_may_have_a_certificate_too(self, authority: Authority) -> None:
        with web_server(authority.server()) as web:
            web.answer["/"] = reply()
            assert self.get(web, "127.0.0.1", authority.trusted).status == 200
        assert web.names == [None]

    def test_https_never_becomes_http(self, authority: Authority, web: Web) -> None:
        with web_server(authority.server()) as secure:
            secure.answer["/"] = redirect(web.url())
            with pytest.raises(RedirectRefused, match="plain http"):
                self.get(secure, "127.0.0.1", authority.trusted)
        assert web.seen == []

    def test_no_tls_where_there_should_be_is_no_connection(self, web: Web) -> None:
        with pytest.raises(NotConnected, match="no TLS"):
            self.get(web, "127.0.0.1", ssl.create_default_context)
