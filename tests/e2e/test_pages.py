"""The pages at `/ui/` in a real browser, on real processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.accounts import API, PASSWORD, login
from tests.support.browser import NARROW, WIDE, Visitor, running_browser, why_not
from tests.support.running import LOAD_EXAMPLES, Running
from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

UGLY = 'x"><script>document.title="taken"</script><img src=x onerror=document.title="taken">'
LONG = "an endless name " * 12
ARABIC = "مهمة التقرير الشهري"


class Site:
    """The service with one worker, an administrator and a browser. `visit` opens the pages as a new visitor."""

    def __init__(self, browser: Browser, stack: Stack) -> None:
        self.browser, self.stack = browser, stack
        self.user, self.admin = (stack.make_user(role)[0] for role in ("user", "admin"))
        self.visitors: list[Visitor] = []

    def visit(self, account: dict[str, Any] | None = None, **options: Any) -> Visitor:
        visitor = Visitor(self.browser, self.stack.url, **options)
        self.visitors.append(visitor)
        if account is not None:
            visitor.sign_in(account["username"], PASSWORD)
        return visitor

    def api(self, account: dict[str, Any]) -> Running:
        """What tests do as this user over the API."""
        running = Running(self.stack)
        running.http = self.stack.api(login(self.stack.api(""), account["username"])["access_token"])
        return running

    def leave(self) -> list[str]:
        """Close all visitors; what their pages complained of."""
        complaints = [line for visitor in self.visitors for line in visitor.complaints]
        for visitor in self.visitors:
            visitor.close()
        self.visitors.clear()
        return complaints


@pytest.fixture(scope="module")
def whole_site(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := why_not():
        pytest.skip(f"no browser here: {reason}")
    directory = tmp_path_factory.mktemp("pages")
    with running_browser() as browser, Stack(services, directory, WEB_UI="true", **LOAD_EXAMPLES) as stack:
        stack.server()
        stack.worker(concurrency=2)
        yield Site(browser, stack)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """No page may violate its policy, ask another host, or fail in its script: looked at after every test."""
    yield whole_site
    assert whole_site.leave() == []


Held = Callable[..., str]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """Bodies wait until this file is there, at the latest when the test ends."""
    found = tmp_path / "gate"
    yield found
    found.touch()


def test_a_newcomers_first_minute(site: Site) -> None:
    page = site.visit().page
    page.goto(site.stack.url)
    page.get_by_label("Username").fill(site.user["username"])
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("The username or the password is wrong")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="New task").click()
    page.get_by_label("Name").fill("my first task")
    page.locator("[name='kwargs.duration']").fill("2")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("my first task")
    bar = page.get_by_role("progressbar")
    seen = set()

    def moves() -> bool:
        seen.add(int(bar.get_attribute("aria-valuenow") or 0))
        return len(seen - {0, 100}) > 1

    wait_for(moves, 30, "the bar to move")
    expect(page.locator("[data-status]").first).to_have_attribute("data-status", "succeeded", timeout=30_000)
    expect(bar).to_have_attribute("aria-valuenow", "100")
    expect(page.get_by_text("Result", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Tasks")
    page.locator("summary", has_text=site.user["username"]).click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.go_back()
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_running_task_is_cancelled_and_tried_again(site: Site, gate: Path, tmp_path: Path) -> None:
    task = site.api(site.user).create("hold", str(gate), str(tmp_path / "ledger"))
    page = site.visit(site.user).page
    page.goto(f"tasks/{task}")
    status = page.locator(".heading [data-status]")
    expect(status).to_have_attribute("data-status", "running")
    page.get_by_role("button", name="Cancel").click()
    expect(status).to_have_attribute("data-status", "revoked")
    expect(page.get_by_text("cancelled")).to_be_visible()
    gate.touch()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(status).to_have_attribute("data-status", "succeeded")
    expect(page.locator(".attempts li")).to_have_count(2)


@pytest.mark.parametrize("reader", ["the owner", "an administrator"])
def test_rows_change_in_place_and_new_ones_wait_behind_a_note(
    site: Site, gate: Path, tmp_path: Path, reader: str
) -> None:
    owner = site.stack.make_user()[0]
    api = site.api(owner)
    task = api.create("hold", str(gate), str(tmp_path / "ledger"))
    page = site.visit(site.admin if reader == "an administrator" else owner).page
    page.goto(f"tasks?q=user:{owner['id']}" if reader == "an administrator" else "tasks")
    row = page.locator(f"tr[data-task-id='{task}']")
    expect(row.locator("[data-status]")).to_have_attribute("data-status", "running")
    row.evaluate("(row) => { row.marked = true }")
    another = api.create("echo")
    expect(page.locator("[data-new]")).to_contain_text("1 new", timeout=15_000)
    gate.touch()
    expect(row.locator("[data-status]")).to_have_attribute("data-status", "succeeded")
    assert row.evaluate("(row) => row.marked"), "the row was replaced"
    page.locator("[data-new] a").click()
    expect(page.locator(f"tr[data-task-id='{another}']")).to_be_visible()


def test_a_deed_is_done_to_all_that_a_search_finds_and_not_to_the_page(site: Site) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    kept = api.create("echo", name="kept", delay_seconds=3600)
    body = {"name": "many", "task_type": "t", "celery_task_name": "tests.echo", "delay_seconds": 3600}
    for _ in range(2):
        assert api.http.post(f"{API}/tasks/batch", json={"tasks": [body] * 1000}).status_code == 201
    page = site.visit(account).page
    page.goto("tasks?q=many")
    page.get_by_role("button", name="Cancel …").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel: 2,000 tasks")
    page.get_by_role("button", name="Cancel: 2,000 tasks").click()
    expect(page.locator("#deed [data-status]")).to_have_attribute("data-status", "finished", timeout=60_000)
    counts = api.http.get(f"{API}/tasks/count").json()
    assert (counts["revoked"], counts["pending"]) == (2000, 1)
    page.goto("tasks?q=status:pending")
    page.locator(f"tr[data-task-id='{kept}'] [data-select]").check()
    page.get_by_role("button", name="Cancel …").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel: 1 tasks")
    expect(page.get_by_text("The selected tasks.")).to_be_visible()


def test_three_failures_are_one_group_that_is_tried_again(site: Site, tmp_path: Path) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    for number in range(3):
        api.ended(api.create("retry_with_what_is_not_json", name=f"fails {number}"))
    page = site.visit(account).page
    page.goto("errors")
    group = page.locator(".group")
    link = group.get_by_role("link", name="3 failed tasks")
    wait_for(lambda: page.reload() and link.count() == 1, 20, "the group of the three")
    link.click()
    expect(page.locator("tr[data-task-id]")).to_have_count(3)
    page.go_back()
    group.get_by_role("button", name="Retry all").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry: 3 tasks")
    page.goto("errors")
    group.get_by_role("button", name="Resolve").click()
    expect(page.get_by_text("No failures here.")).to_be_visible()
    page.get_by_role("link", name="resolved").click()
    expect(group).to_have_count(1)


def test_the_log_of_a_body_is_followed(site: Site, gate: Path) -> None:
    task = site.api(site.user).create("talk", str(gate))
    page = site.visit(site.user).page
    page.goto(f"tasks/{task}")
    log = page.locator(".log")
    expect(log).to_contain_text("before the gate")
    gate.touch()
    expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "succeeded")
    expect(log.locator("li .message")).to_have_text(["before the gate", "behind the gate"])


def test_a_paused_queue_says_why_its_tasks_wait(site: Site) -> None:
    page = site.visit(site.admin).page
    page.goto("queues")
    queue = page.locator(".card", has=page.get_by_role("heading", name="low_priority"))
    queue.get_by_label("Reason").fill("database maintenance")
    queue.get_by_role("button", name="Pause").click()
    expect(queue.locator("[data-status=paused]")).to_be_visible()
    task = site.api(site.user).create("echo", priority="low")
    waiting = site.visit(site.user).page
    waiting.goto(f"tasks/{task}")
    expect(waiting.get_by_text("Its queue is paused:")).to_be_visible()
    queue.get_by_role("button", name="Resume").click()
    expect(waiting.locator(".heading [data-status]")).to_have_attribute("data-status", "succeeded")


def test_a_login_that_ends_leads_back_to_the_same_page(site: Site) -> None:
    account = site.stack.make_user()[0]
    page = site.visit(account).page
    page.goto("tasks?q=status:failed")
    site.stack.sql("UPDATE login_sessions SET revoked_at = now() WHERE user_id = :id", id=account["id"])
    page.get_by_role("link", name="running").click()
    page.get_by_label("Username").fill(account["username"])
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ui/tasks?q=status%3Arunning")


def test_an_open_page_goes_on_when_the_server_was_restarted(site: Site, gate: Path, tmp_path: Path) -> None:
    task = site.api(site.user).create("hold", str(gate), str(tmp_path / "ledger"))
    page = site.visit(site.user).page
    page.goto(f"tasks/{task}")
    badge = page.locator("[data-live]")
    expect(badge).to_have_attribute("data-live", "live")
    site.stack.server().kill()
    expect(badge).to_have_attribute("data-live", "stale")
    site.stack.server()
    gate.touch()
    expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "succeeded", timeout=40_000)
    site.visitors[-1].complaints.clear()  # the browser tells of the refused connections


def test_everything_but_what_moves_works_without_javascript(site: Site, gate: Path, tmp_path: Path) -> None:
    page = site.visit(site.user, scripts=False).page
    page.goto("new")
    page.locator("[name=json]").fill(
        f'{{"name": "by JSON", "task_type": "t", "celery_task_name": "tests.hold", "args": ["{gate}", "{tmp_path}/l"]}}'
    )
    page.get_by_role("button", name="Create from JSON").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("by JSON")
    page.get_by_role("button", name="Cancel").click()
    page.goto("tasks?q=by")
    expect(page.locator("tr[data-task-id]")).to_have_count(1)


def test_the_keyboard_alone_is_enough(site: Site) -> None:
    task = site.api(site.user).create("echo", name="the newest of all")
    page = site.visit(site.user).page
    page.keyboard.type("gt")
    page.wait_for_url("**/ui/tasks")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/tasks/{task}")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.type("gt")
    page.wait_for_url("**/ui/tasks")
    page.keyboard.press("/")
    page.keyboard.type("nothing like this")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No task matches.")).to_be_visible()


def test_what_users_write_is_never_run(site: Site) -> None:
    api = site.api(site.user)
    task = api.create("echo", UGLY, name=UGLY, tags=[UGLY[:60]], metadata={UGLY: UGLY})
    failed = api.create("retry_with_what_is_not_json", name=ARABIC)
    for each in (task, failed):
        api.ended(each)
    for account in (site.user, site.admin):
        page = site.visit(account).page
        for path in ("", "tasks", f"tasks/{task}", f"tasks/{failed}", "tasks?q=" + UGLY.replace(" ", "+"), "queues"):
            page.goto(path)
            assert page.title() != "taken"
            assert page.locator("main img").count() == 0


@pytest.mark.parametrize(
    ("language", "scheme", "width"),
    [("en-US", "light", WIDE), ("zh-CN", "dark", NARROW), ("en-US", "dark", NARROW), ("zh-CN", "light", WIDE)],
)
def test_every_page_can_be_used_by_everybody(site: Site, language: str, scheme: Any, width: int) -> None:
    api = site.api(site.admin)
    task = api.create("echo", name=LONG, tags=[f"tag {number}" for number in range(50)])
    failed = api.create("retry_with_what_is_not_json", name=ARABIC)
    for each in (task, failed):
        api.ended(each)
    visitor = site.visit(site.admin, language=language, scheme=scheme, width=width)
    paths = ("", "tasks", f"tasks/{task}", f"tasks/{failed}", "new", f"tasks/{failed}/change", "errors", "queues")
    for path in (*paths, "users", "audit", "account", "x"):
        visitor.page.goto(path)
        assert visitor.findings() == [], path
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visitor.page.evaluate(overflow) <= 0, f"{path} is wider than the window"
