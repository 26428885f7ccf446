"""The `Link` header."""

import httpx
from fastapi import Request, Response

from app.api.http.responses import set_next_link
from tests.support.tables import check_rows


def link(query: str, cursor: str | None, host: str = "example.com") -> str | None:
    scope = {
        "type": "http",
        "scheme": "https",
        "server": ("example.com", 443),
        "path": "/api/v1/tasks/",
        "query_string": query.encode(),
        "headers": [(b"host", host.encode("latin-1"))],
    }
    response = Response()
    set_next_link(Request(scope), response, cursor)
    return response.headers.get("link")


def target(header: str | None) -> httpx.URL:
    assert header is not None
    return httpx.URL(httpx.Response(200, headers={"Link": header}).links["next"]["url"])


def test_the_last_page_has_none() -> None:
    assert link("limit=2", None) is None


def test_keeps_every_parameter_but_skip_which_would_be_applied_again() -> None:
    url = target(link("skip=10&status=failed&status=revoked&name=%E4%BD%A0%20%26&limit=2&cursor=old&empty=", "new"))
    assert url.host == "example.com"
    parameters = sorted(map("=".join, url.params.multi_items()))
    assert parameters == ["cursor=new", "empty=", "limit=2", "name=你 &", "status=failed", "status=revoked"]


def test_a_hostile_host_cannot_leave_the_brackets() -> None:
    def check(host: str) -> None:
        header = link("", "c", host)
        assert header is not None
        assert header.count("<") == header.count(">") == 1
        assert header.endswith('>; rel="next"')
        assert " " not in header.partition(">")[0]

    check_rows(check, ['evil/>; rel="x", <', "a b", 'a"b'])
