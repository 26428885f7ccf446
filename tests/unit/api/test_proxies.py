"""The line about a proxy that is not trusted."""

import logging

import pytest
from fastapi import Request

from app.api.deps import UntrustedProxies
from tests.support.tables import check_rows

PEER = "10.0.0.7"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def request(peer: str | None = PEER, **headers: str) -> Request:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": given, "client": None if peer is None else (peer, 1234)})


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def test_a_forwarded_address_that_does_not_count_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def check(odd: Request) -> None:
        caplog.clear()
        UntrustedProxies().look(odd)
        (line,) = lines(caplog)
        assert "FORWARDED_ALLOW_IPS" in line
        assert (odd.client.host if odd.client else "an unknown peer") in line
        assert "192.0.2.1" not in line

    check_rows(check, [
        request(x_forwarded_for="192.0.2.1"),
        request(x_forwarded_for="192.0.2.1, 198.51.100.1"),
        request(forwarded="for=192.0.2.1"),
        request(forwarded=f"for=192.0.2.1;by={PEER}"),
        request(None, x_forwarded_for="192.0.2.1"),
    ])  # fmt: skip


def test_other_requests_are_not(caplog: pytest.LogCaptureFixture) -> None:
    """uvicorn puts an address that a trusted proxy names in the place of the peer's."""
    usual = [request(), request(x_forwarded_for=PEER), request(x_forwarded_for=f"192.0.2.1, {PEER}:80"), request(None)]
    for each in usual:
        UntrustedProxies().look(each)
    assert lines(caplog) == []


def test_it_is_said_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    proxies = UntrustedProxies(clock)
    for now, said in ((0, 1), (1, 1), (3599, 1), (3600, 2), (3700, 2)):
        clock.now = now
        proxies.look(request(x_forwarded_for="192.0.2.1"))
        assert len(lines(caplog)) == said
