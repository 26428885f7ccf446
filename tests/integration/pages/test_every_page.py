"""What holds for every page: its language, its files, what it ignores, and that there is none without WEB_UI."""

import html
import re

import pytest
from fastapi.testclient import TestClient

from tests.support.page_reader import SAME, Reader
from tests.support.services import Services
from tests.support.task_client import shared_client


class TestUnknownParameters:
    def test_are_ignored_and_the_page_says_so(self, reader: Reader) -> None:
        page = reader.get("/tasks?status=failed&q=x&<b>=1").text
        told = "<code><bdi>status</bdi></code> <code><bdi>&lt;b&gt;</bdi></code>"
        assert f"Ignored, since this page has no such parameter: {told}" in page
        assert "Ignored" not in reader.get("/tasks?q=x").text

    def test_are_no_text_that_a_stranger_puts_on_the_sign_in_page(self, client: TestClient) -> None:
        assert "Ignored" not in Reader(client).get("/sign-in?Your+account+is+locked:+call+555=1").text


def test_a_page_speaks_the_readers_language(reader: Reader) -> None:
    assert "还没有任务" in reader.get("/tasks", **{"Accept-Language": "zh-CN"}).text
    assert reader.post("/choices/language", value="zh", next="/tasks").headers["location"] == "/ui/tasks"
    assert '<html lang="zh"' in reader.get("/tasks").text
    reader.post("/choices/language", value="xx")
    assert '<html lang="zh"' in reader.get("/tasks").text


class TestErrorsInChinese:
    """Everything that a page of an error says is in the reader's language, but for codes and what was sent."""

    ID = "0190a2b4-0000-7000-8000-000000000000"

    @pytest.mark.parametrize(
        ("method", "path", "form", "said"),
        [
            ("GET", "/tasks/xyz", {}, "资源不存在"),
            ("GET", "/none", {}, "资源不存在"),
            ("GET", f"/tasks/{ID}", {}, "任务不存在"),
            ("DELETE", "/tasks", {}, "不支持此请求方法"),
            ("POST", "/bulk/delete/preview", {"q": ""}, "没有选择任何任务"),
            ("POST", "/bulk/delete/preview", {"q": "staus:x", "all": "true"}, "无法理解：staus:x"),
            ("POST", "/bulk/delete", {"token": "x"}, "令牌已过期或未知"),
            ("POST", "/bulk/delete", {}, "<code>token</code> 必填"),
            ("POST", f"/errors/{'0' * 32}/ignore", {"until": "soon"}, "until 不是有效的日期和时间"),
            ("GET", "/tasks?sort=x", {}, "<code>query.sort</code> 必须是 "),
            ("GET", "/tasks?cursor=x", {}, "游标无效"),
        ],
    )
    def test_is_told(self, reader: Reader, method: str, path: str, form: dict[str, str], said: str) -> None:
        reader.cookies["language"] = "zh"
        answer = reader.request(method, f"/ui{path}", SAME, data=form)
        told = html.unescape(answer.text.partition("<h1>")[2].partition("</main>")[0])
        assert answer.status_code >= 400
        assert said in told
        words = re.sub(r"<code>.*?</code>|<[^>]*>|HTTP|'\w+'|until|staus:x|Link|dry_run", "", told)
        assert re.findall(r"[A-Za-z]{3,}", words) == []


def test_the_files_of_the_pages_are_kept_by_browsers(reader: Reader) -> None:
    for path in re.findall(r'(?:src|href)="/ui(/static/[^"]+)"', reader.get("/").text):
        answer = reader.get(path, **{"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
    assert reader.get("/static/x/secret.py").status_code == 404


def test_without_web_ui_there_are_no_pages(services: Services) -> None:
    with shared_client(services, WEB_UI="false") as client:
        assert client.get("/ui/").status_code == 404
        root = client.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
        assert root.headers["location"] == "/docs"
        assert "pages" not in client.get("/").json()["links"]
