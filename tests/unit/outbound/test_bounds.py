"""No answer takes more time or memory than allowed, and no request is more than one."""

import gzip
import time
import tracemalloc
import zlib

import pytest

from app.launcher.ports import free_loopback_port
from app.outbound import answer
from app.outbound.answer import decoded_pieces
from app.outbound.errors import AnswerRefused, Interrupted, InvalidRequest, NotConnected
from tests.support.properties import given, st
from tests.support.tables import check_rows
from tests.unit.outbound.web_server import Web, client, raw_server, redirect, reply

OK = b"HTTP/1.1 200 OK\r\n"
SET_BY_THE_CLIENT = ("Host", "hOsT", "Transfer-Encoding", "Content-Length", "Connection", "Proxy-Authorization",
                     "Accept-Encoding")  # fmt: skip


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


class TestTime:
    @pytest.mark.parametrize(
        ("first", "forever"),
        [
            pytest.param(OK + b"\r\n", b"x", id="a body"),
            pytest.param(OK, b"X-A: b\r\n", id="headers"),
            pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="preliminary answers"),
        ],
    )
    def test_an_answer_in_slow_drips_ends_with_the_deadline(self, first: bytes, forever: bytes) -> None:
        begun = time.monotonic()
        with (
            raw_server(first, pause=0.05, forever=forever) as port,
            pytest.raises(Interrupted, match=r"within 0\.5 seconds"),
        ):
            client(seconds=0.5).request("GET", url(port))
        assert time.monotonic() - begun < 5

    def test_silence_ends_with_the_time_for_one_step(self) -> None:
        begun = time.monotonic()
        with raw_server(b"", pause=10) as port, pytest.raises(Interrupted, match=r"no data for 0\.2 seconds"):
            client(read_seconds=0.2).request("GET", url(port))
        assert time.monotonic() - begun < 5

    def test_redirects_share_one_deadline(self, web: Web) -> None:
        def slowly(request: object) -> None:
            time.sleep(0.3)
            redirect("/")(request)

        web.answer["/"] = slowly
        with pytest.raises(Interrupted, match=r"within 0\.5"):
            client(seconds=0.5).request("GET", web.url())

    def test_a_port_without_a_server_is_told_at_once(self) -> None:
        with pytest.raises(NotConnected, match="refused"):
            client().request("GET", url(free_loopback_port()))


class TestSize:
    def test_what_says_that_it_is_too_large_is_not_read(self, web: Web) -> None:
        web.answer["/"] = reply(body=b"x" * 2000)
        with pytest.raises(AnswerRefused, match="larger than 1999 bytes"):
            client(max_bytes=1999).request("GET", web.url())
        assert len(client(max_bytes=2000).request("GET", web.url()).content) == 2000

    @pytest.mark.parametrize(
        ("header", "forever"),
        [(b"", b"x" * 65536), (b"Content-Encoding: gzip\r\n", gzip.compress(b"") * 1000)],
        ids=["a body without a length", "bytes that unpack to nothing"],
    )
    def test_no_body_is_read_beyond_the_limit(self, header: bytes, forever: bytes) -> None:
        with raw_server(OK + header + b"\r\n", forever=forever) as port, pytest.raises(AnswerRefused, match="larger"):
            client(max_bytes=100_000).request("GET", url(port))

    def test_a_bomb_does_not_go_off(self, web: Web) -> None:
        web.answer["/"] = reply(body=gzip.compress(bytes(60_000_000)), Content_Encoding="gzip")
        tracemalloc.start()
        try:
            with pytest.raises(AnswerRefused, match="larger"):
                client(max_bytes=10_000_000).request("GET", web.url())
            assert tracemalloc.get_traced_memory()[1] < 40_000_000
        finally:
            tracemalloc.stop()

    def test_an_encoding_that_was_not_asked_for_is_refused(self, web: Web) -> None:
        def check(encoding: str) -> None:
            web.answer["/"] = reply(body=gzip.compress(b"x"), Content_Encoding=encoding)
            with pytest.raises(AnswerRefused, match="Content-Encoding"):
                client().request("GET", web.url())
            assert web.seen[-1].headers["accept-encoding"] == "gzip"

        check_rows(check, ["gzip, gzip", "br", "deflate", "gzip,identity", "x"])

    def test_headers_have_a_size_too(self) -> None:
        def check(headers: bytes) -> None:
            with (
                raw_server(OK + headers + b"\r\n\r\n") as port,
                pytest.raises(AnswerRefused, match="headers are larger"),
            ):
                client().request("GET", url(port))

        check_rows(check, [b"X: " + b"a" * 70_000, b"X: " + b"a" * 200_000, b"X-A: b\r\n" * 10_000])
        with raw_server(OK + b"Content-Length: 0\r\nX: " + b"a" * 60_000 + b"\r\n\r\n") as port:
            assert client().request("GET", url(port)).status == 200

    def test_a_whole_head_does_not_count_against_the_body(self) -> None:
        body = b"x" * 300_000
        with raw_server(OK + b"Content-Length: 300000\r\n\r\n" + body) as port:
            assert client().request("GET", url(port)).content == body


class TestGzip:
    @given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 40), st.integers(1, 50))
    def test_any_members_in_any_pieces_come_out_whole(self, members: list[bytes], cut: int, room: int) -> None:
        packed = b"".join(map(gzip.compress, members))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(answer, "PIECE", room)  # a small piece: its borders are met often
            pieces = list(decoded_pieces((packed[at : at + cut] for at in range(0, len(packed), cut)), "GZIP"))
        assert b"".join(pieces) == b"".join(members)
        assert all(len(piece) <= room for piece in pieces)

    @given(st.binary(max_size=2000), st.integers(1, 30))
    def test_one_that_was_cut_is_no_answer(self, content: bytes, missing: int) -> None:
        packed = gzip.compress(content)[:-missing]
        with pytest.raises(Interrupted) if packed else pytest.raises(AssertionError):
            assert list(decoded_pieces([packed], "gzip"))

    def test_what_is_none_is_no_answer(self, web: Web) -> None:
        web.answer["/"] = reply(body=zlib.compress(b"secret"), Content_Encoding="gzip")
        with pytest.raises(Interrupted) as failed:
            client().request("GET", web.url())
        assert "secret" not in str(failed.value)

    def test_it_arrives_unpacked(self, web: Web) -> None:
        web.answer["/"] = reply(body=gzip.compress("数据".encode() * 100_000), Content_Encoding="gzip")
        assert client().request("GET", web.url()).content.decode() == "数据" * 100_000
        assert client().request("HEAD", web.url()).content == b""


class TestAnswers:
    def test_what_is_not_whole_http_says_nothing_of_what_it_was(self) -> None:
        def check(said: bytes) -> None:
            with raw_server(said) as port, pytest.raises(Interrupted) as failed:
                client().request("GET", url(port))
            error: BaseException | None = failed.value
            while error is not None:  # the chain is what a stored traceback shows
                assert "secret" not in str(error)
                error = error.__cause__ if error.__suppress_context__ else error.__context__

        check_rows(check, [
            b"SSH-2.0-OpenSSH_9.9 secret\r\n", b"+PONG secret\r\n", b"220 secret ESMTP\r\n", b"", b"\0\1\2secret\r\n\r\n",
            OK + b"Content-Length: 5\r\n\r\nsec", OK + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\n",
            OK + b"Content-Length: x-secret\r\n\r\n", OK + b"bad header secret\r\n\r\n",
            OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"HTTP/1.1 101 secret\r\nUpgrade: x\r\n\r\n",
        ])  # fmt: skip

    def test_cookies_are_not_kept(self, web: Web) -> None:
        one = client()
        web.answer["/"] = reply(Set_Cookie="a=b")
        one.request("GET", web.url())
        one.request("GET", web.url())
        assert "cookie" not in web.seen[1].headers


class TestRequests:
    def test_headers_cannot_be_broken(self, web: Web) -> None:
        def check(headers: dict[str, str], says: str) -> None:
            with pytest.raises(InvalidRequest, match=says) as refused:
                client().request("GET", web.url(), headers=headers)
            assert "evil" not in str(refused.value)

        check_rows(check, [
            *(({"X": value}, "value of the header x") for value in ("a\r\nHost: evil", "a\nb", "a\0", "é")),
            *(({name: "a"}, "a header name") for name in ("X\r\nY", "X Y", "")),
            *(({name: "evil"}, f"{name.lower()} is set") for name in SET_BY_THE_CLIENT),
            ({"X-A": "1", "x-a": "2"}, "given twice"),
            ({f"X-{number}": "" for number in range(51)}, "at most 50"),
            ({"X": "a" * 17000}, "at most 50"),
        ])  # fmt: skip
        assert web.seen == []

    def test_methods_are_of_a_list(self, web: Web) -> None:
        def check(method: str) -> None:
            with pytest.raises(InvalidRequest, match="method"):
                client().request(method, web.url())

        check_rows(check, ["TRACE", "CONNECT", "get", "GET / HTTP/1.1\r\nX: ", ""])
        assert web.seen == []

    def test_they_arrive_as_they_were_said(self, web: Web) -> None:
        web.answer["/a%20b?c=%E4"] = reply()
        sent = {"X-One": " two ", "User-Agent": "mine", "Content-Type": "a/b"}
        client().request("PUT", web.url("/a%20b?c=%E4"), headers=sent, content=b"body")
        (seen,) = web.seen
        assert (seen.method, seen.path, seen.body) == ("PUT", "/a%20b?c=%E4", b"body")
        assert [seen.headers[name] for name in ("x-one", "user-agent", "content-type")] == ["two", "mine", "a/b"]

    def test_a_server_may_answer_before_it_has_heard_all(self) -> None:
        answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with raw_server(answer, pause=1) as port:
            assert client().request("POST", url(port), content=b"x" * 1_000_000).status == 413
