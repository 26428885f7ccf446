"""Somebody who reads the pages in a browser without JavaScript, and what tests look for in a page."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Any

import httpx
from starlette.testclient import TestClient

from tests.support.accounts import PASSWORD

HTTPS = "https://tasks.example.com"
# What a browser sends with a form of the page's own site.
SAME = {"Sec-Fetch-Site": "same-origin"}
# The pages of every user that need no object.
PATHS = (
    "/", "/tasks", "/new", "/errors", "/queues", "/queues/default", "/limits", "/account", "/webhooks", "/webhooks/new",
    "/schedules", "/schedules/new", "/schedules/preview", "/workflows",
)  # fmt: skip


class Reader:
    """A browser without JavaScript: keeps cookies, follows no redirect, sends what browsers send with forms."""

    def __init__(self, client: TestClient, origin: str = HTTPS) -> None:
        self._client, self.origin = client, origin
        self.cookies: dict[str, str] = {}

    def request(self, method: str, path: str, headers: dict[str, str], **options: Any) -> httpx.Response:
        self._client.cookies.clear()
        headers = self._cookie() | headers
        answer = self._client.request(method, self.origin + path, headers=headers, follow_redirects=False, **options)
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", f"/ui{path}", headers)

    def post(self, path: str, headers: dict[str, str] | None = None, **form: Any) -> httpx.Response:
        return self.request("POST", f"/ui{path}", SAME if headers is None else headers, data=form)

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[dict[str, Any]]]:
        """The tasks that its events show, as they come."""
        self._client.cookies.clear()
        with self._client.stream("GET", f"{self.origin}/ui{path}", headers=self._cookie()) as answer:
            assert answer.status_code == 200
            yield (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))

    def sign_in(self, username: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        return self.post("/sign-in", username=username, password=password, **more)

    def _cookie(self) -> dict[str, str]:
        sent = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": sent} if sent else {}


def signed_in(client: TestClient, user: dict[str, Any]) -> Reader:
    """A reader who has signed in as the user, over https."""
    reader = Reader(client)
    assert reader.sign_in(user["username"]).status_code == 303
    return reader


def words(markup: str) -> str:
    """What is read of it."""
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def heading(page: str) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    return words(found[1]) if found else ""


def cells(page: str, part: str) -> list[list[str]]:
    """The texts of the rows of the part with this id, but for their dialogs."""
    body = page.partition(f'id="{part}"')[2].partition("</tbody>")[0].partition("<tbody>")[2]
    rows = re.findall(r"<tr.*?</tr>", re.sub(r"<dialog.*?</dialog>", "", body, flags=re.DOTALL), re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL)] for row in rows]


def listed(page: str) -> list[str]:
    """The ids of the tasks in its list."""
    return re.findall(r'<tr data-task-id="([0-9a-f-]+)"', page)


def deeds(page: str) -> list[str]:
    """What the page of a task offers to do to it."""
    return re.findall(r'action="/ui/tasks/[0-9a-f-]+/([\w-]+)"', page)


def next_page(page: str) -> str | None:
    """The path of the page that follows, below /ui; None on the last one."""
    found = re.search(r'rel="next" href="/ui([^"]+)"', page)
    return html.unescape(found[1]) if found else None


def wrong(page: str) -> dict[str, str]:
    """The fields that have an error, by their ids, with what is said of each. The first of them has the focus."""
    said = dict(re.findall(r'<p class="wrong" id="([\w-]+)-error">(.*?)</p>', page))
    for field in said:
        (tag,) = re.findall(rf'<(?:input|select) id="{field}"[^>]*>', page)
        assert 'aria-invalid="true"' in tag
        assert "autofocus" in tag
        assert f"{field}-error" in re.findall(r'aria-describedby="([^"]*)"', tag)[0].split()
    return said
