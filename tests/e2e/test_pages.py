"""The pages at `/ui/` in a real browser, on real processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pyotp
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.accounts import API, PASSWORD
from tests.support.amounts import amount
from tests.support.browser import NARROW, WIDE, press_and_confirm
from tests.support.site import Site
from tests.support.stack import node_name
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

UGLY = 'x"><script>document.title="taken"</script><img src=x onerror=document.title="taken">'
LONG = "an endless name " * 12
ARABIC = "مهمة التقرير الشهري"


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
    for chosen in ("app.tasks.model_tasks.train_classifier", "app.tasks.common_tasks.long_running_task"):
        page.get_by_label("Task", exact=True).select_option(chosen)
        expect(page.locator("[name=form_of]")).to_have_value(chosen)
    page.get_by_label("Name", exact=True).fill("my first task")
    page.locator("[name='kwargs.duration']").fill("10")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("my first task")
    bar = page.get_by_role("progressbar")
    seen = set()

    def moves() -> bool:
        seen.add(int(bar.get_attribute("aria-valuenow") or 0))
        return len(seen - {0, 100}) > 1

    wait_for(moves, 30, "the bar to move")
    expect(page.locator("[data-status]").first).to_have_attribute("data-status", "succeeded", timeout=30_000)
    expect(bar).to_have_count(0)
    expect(page.locator(".times-of")).to_contain_text("ran 10 s")
    expect(page.get_by_text("Result", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    press_and_confirm(page, "Delete")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tasks")
    expect(page.get_by_role("status").filter(has_text="The task is deleted.")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The task is deleted.")).to_have_count(0)
    page.locator("summary", has_text=site.user["username"]).click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.go_back()
    expect(page.get_by_label("Password")).to_be_visible()


def test_what_is_chosen_before_the_script_has_come_is_shown(site: Site) -> None:
    page, held = site.visit(site.user).page, list[Route]()
    page.route("**/live.js*", lambda route: held.append(route))  # noqa: PLW0108 (it takes no method of a list)
    page.goto("new", wait_until="commit")
    chosen = "app.tasks.model_tasks.train_classifier"
    page.get_by_label("Task", exact=True).select_option(chosen)
    expect(page.locator("[name=form_of]")).not_to_have_value(chosen)
    held[0].continue_()
    expect(page.locator("[name=form_of]")).to_have_value(chosen)


def running_task(site: Site, gate: Path, tmp_path: Path) -> tuple[str, Page]:
    """A task that runs until the gate opens, and its page."""
    task = site.api(site.user).create("hold", str(gate), str(tmp_path / "ledger"))
    page = site.visit(site.user).page
    page.goto(f"tasks/{task}")
    expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "running")
    return task, page


def test_a_running_task_is_cancelled_and_tried_again(site: Site, gate: Path, tmp_path: Path) -> None:
    _, page = running_task(site, gate, tmp_path)
    status = page.locator(".heading [data-status]")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Back").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    press_and_confirm(page, "Cancel")
    expect(status).to_have_attribute("data-status", "revoked")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    gate.touch()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(status).to_have_attribute("data-status", "succeeded")
    expect(page.locator("#attempts tbody tr")).to_have_count(2)


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


def test_the_log_and_the_output_of_a_body_are_followed(site: Site, gate: Path) -> None:
    task = site.api(site.user).create("talk", str(gate))
    page = site.visit(site.user).page
    page.goto(f"tasks/{task}")
    log, output = (page.get_by_role("list", name=name) for name in ("Log", "Output"))
    expect(log).to_contain_text("before the gate")
    expect(output).to_have_text("The words be")
    gate.touch()
    expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "succeeded")
    expect(log.locator("li .message")).to_have_text(["before the gate", "behind the gate"])
    expect(output).to_contain_text("The words before and behindcounts")
    expect(output.locator("li .message")).to_have_text(["The words be", "fore and behind", '{"rows": 3}'])


def test_a_worker_is_drained_and_leaves_the_list(site: Site) -> None:
    worker = site.stack.worker(concurrency=1)
    page = site.visit(site.admin).page
    page.goto("queues")
    row = page.locator("#workers tr", has_text=node_name(worker))
    row.get_by_role("button", name="Drain").click()
    page.locator("#ask").get_by_role("button", name="Drain").click()
    expect(row).to_have_count(0, timeout=60_000)
    wait_for(lambda: not worker.running, 30, "the worker to leave")


def test_a_second_factor_is_asked_for(site: Site) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    secret = api.http.post(f"{API}/users/me/totp", json={"current_password": PASSWORD}).json()["secret"]
    code = pyotp.TOTP(secret)
    confirmed = api.http.post(f"{API}/users/me/totp/confirm", json={"otp": code.now()})
    assert confirmed.status_code == 200, confirmed.text
    page = site.visit().page
    page.goto("sign-in?next=/queues")
    page.get_by_label("Username").fill(account["username"])
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("One-time code").fill(confirmed.json()["recovery_codes"][0])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ui/queues")


def test_two_tabs_show_the_same_and_end_together(site: Site, gate: Path, tmp_path: Path) -> None:
    task = site.api(site.user).create("hold", str(gate), str(tmp_path / "ledger"))
    visitor = site.visit(site.user)
    first, second = visitor.page, visitor.context.new_page()
    for page in (first, second):
        page.goto(f"tasks/{task}")
        expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "running")
    press_and_confirm(first, "Cancel")
    for page in (first, second):
        expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "revoked")
    first.locator("summary", has_text=site.user["username"]).click()
    first.get_by_role("button", name="Sign out").click()
    expect(first.get_by_label("Password")).to_be_visible()
    second.get_by_role("link", name="Queues").click()
    expect(second.get_by_label("Password")).to_be_visible()
    second.go_back()
    expect(second.locator("h1")).to_have_text("Sign in")


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """The address of a page on another port of this host: another origin of the same site, so cookies are sent there."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_another_site_changes_nothing_and_shows_nothing(site: Site) -> None:
    api = site.api(site.user)
    task = api.create("echo", delay_seconds=3600)
    action = f"{site.stack.url}/ui/tasks/{task}/cancel"
    html = f"""<form method=post action="{action}"><button>send</button></form><iframe src="{site.stack.url}/ui/"></iframe>
    <p id=read></p><script>fetch("{site.stack.url}/ui/tasks", {{credentials: "include"}})
    .then((answer) => answer.text()).then((text) => read.textContent = text, () => read.textContent = "refused")</script>"""
    visitor = site.visit(site.user)
    with another_site(html) as address:
        visitor.page.goto(address)
        expect(visitor.page.locator("#read")).to_have_text("refused")
        wait_for(lambda: any("frame-ancestors" in each for each in visitor.complaints), 20, "the frame to be refused")
        with visitor.page.expect_response(action) as answer:
            visitor.page.get_by_role("button", name="send").click()
        assert answer.value.status == 403
    assert api.get(task)["status"] == "pending"
    visitor.complaints.clear()  # the browser tells of what it refused


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
    page.get_by_role("button", name="JSON").click()
    page.locator("[name=json]").fill(
        f'{{"name": "by JSON", "task_type": "t", "celery_task_name": "tests.hold", "args": ["{gate}", "{tmp_path}/l"]}}'
    )
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("by JSON")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel: by JSON")  # a page asks
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The task is cancelled")).to_be_visible()
    page.goto("tasks?q=by")
    expect(page.locator("tr[data-task-id]")).to_have_count(1)
    page.get_by_role("button", name="Delete …").click()
    expect(page.get_by_text("Nothing is selected")).to_be_visible()


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


def test_the_keys_cancel_and_retry_after_a_question(site: Site, gate: Path, tmp_path: Path) -> None:
    task, page = running_task(site, gate, tmp_path)
    status = page.locator(".heading [data-status]")
    question = page.locator("#ask")
    page.keyboard.press("?")
    page.keyboard.press("c")  # the list of keys is open: nothing behind it is reached
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    page.keyboard.press("c")
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(status).to_have_attribute("data-status", "running")
    page.keyboard.press("c")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(status).to_have_attribute("data-status", "revoked")
    gate.touch()
    page.keyboard.press("r")
    question.get_by_role("button", name="Retry").click()
    expect(status).to_have_attribute("data-status", "succeeded")
    page.keyboard.press("/")
    page.wait_for_url("**/ui/tasks")
    page.locator(f"tr[data-task-id='{task}'] [data-select]").click()
    page.keyboard.press("c")
    expect(page.locator("h1")).to_have_text("Cancel: 1 task")


def test_what_was_typed_and_where_the_focus_is_outlasts_a_refresh(site: Site) -> None:
    page = site.visit(site.admin).page
    page.goto("queues")
    page.clock.install()
    page.reload()
    page.get_by_role("button", name="Pause …").first.click()
    reason = page.get_by_label("Reason").first
    with page.expect_response("**/ui/queues"):
        page.clock.run_for(5_100)
    expect(reason).to_be_visible()  # a dialog that is open stays
    reason.fill("half a sentence")
    with page.expect_response("**/ui/queues"):
        page.clock.run_for(5_100)
    expect(reason).to_have_value("half a sentence")
    reason.fill("")
    page.keyboard.press("Escape")
    page.locator("#queues a").first.focus()
    page.locator("#queues").evaluate("(part) => { part.marked = true }")
    with page.expect_response("**/ui/queues"):
        page.clock.run_for(5_100)
    wait_for(lambda: page.locator("#queues").evaluate("(part) => !part.marked"), 20, "the part to be replaced")
    expect(page.locator("#queues a").first).to_be_focused()


def test_a_question_outlasts_the_refreshes_of_the_page_under_it(site: Site) -> None:
    task = site.api(site.user).create("echo", delay_seconds=3600)
    page = site.visit(site.user).page
    page.goto(f"tasks/{task}")
    page.clock.install()
    page.reload()
    page.get_by_role("button", name="Cancel").click()
    page.clock.run_for(11_000)  # two refreshes would have been
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "revoked")


def test_a_page_goes_on_after_a_dialog_that_was_left(site: Site) -> None:
    page = site.visit(site.admin).page
    page.goto("queues")
    page.clock.install()
    page.reload()
    page.get_by_role("button", name="Pause …").first.click()
    page.get_by_label("Reason").first.fill("half a sentence")
    page.get_by_role("button", name="Back").first.click()
    page.locator("#queues").evaluate("(part) => { part.marked = true }")
    with page.expect_response("**/ui/queues"):
        page.clock.run_for(5_100)
    wait_for(lambda: page.locator("#queues").evaluate("(part) => !part.marked"), 20, "the part to be replaced")


def test_the_keys_do_nothing_where_nothing_is_meant(site: Site) -> None:
    task = site.api(site.user).create("echo", delay_seconds=3600)
    page = site.visit(site.user).page
    page.goto("tasks?q=status:pending")
    page.keyboard.press("c")
    expect(page.locator("h1")).to_have_text("Tasks")
    page.locator(f"tr[data-task-id='{task}'] a.name").focus()
    page.keyboard.press("c")
    expect(page.locator("h1")).to_have_text("Cancel: 1 task")


def test_an_overview_says_when_it_is_stale(site: Site) -> None:
    visitor = site.visit(site.user)
    page = visitor.page
    page.goto("")
    badge = page.locator("[data-live]")
    expect(badge).to_have_attribute("data-live", "live")
    site.stack.server().kill()
    expect(badge).to_have_attribute("data-live", "stale")
    site.stack.server()
    expect(badge).to_have_attribute("data-live", "live", timeout=40_000)
    visitor.complaints.clear()  # the browser tells of the refused connections


def test_a_task_that_is_deleted_under_its_open_page_is_gone(site: Site) -> None:
    """While it waits or runs: the page of an ended task asks for nothing any more."""
    task = site.api(site.user).create("echo", delay_seconds=3600)
    page = site.visit(site.user).page
    page.goto(f"tasks/{task}")
    expect(page.locator(".why")).to_contain_text("Waits for its time:")
    site.stack.sql("DELETE FROM tasks WHERE id = :id", id=task)  # as with its user
    expect(page.locator("h1")).to_have_text("The task does not exist")


def test_the_reason_of_a_wait_changes_under_an_open_page(site: Site) -> None:
    admin = site.api(site.admin)
    admin.http.post(f"{API}/queues/low_priority/pause", json={"reason": "x"})
    page = site.visit(site.user).page
    task = site.api(site.user).create("echo", priority="low", delay_seconds=6)
    page.goto(f"tasks/{task}")
    expect(page.locator(".why")).to_contain_text("Waits for its time:")
    expect(page.locator(".why")).to_contain_text("Its queue is paused:", timeout=40_000)
    admin.http.post(f"{API}/queues/low_priority/resume")
    expect(page.locator(".heading [data-status]")).to_have_attribute("data-status", "succeeded")


def test_what_users_write_is_never_run(site: Site) -> None:
    api = site.api(site.user)
    task = api.create("echo", UGLY, name=UGLY, tags=[UGLY[:60]], metadata={UGLY: UGLY}, task_type=UGLY)
    failed = api.create("say_and_fail", UGLY, name=UGLY)
    for each in (task, failed):
        api.ended(each)
    wait_for(lambda: api.http.get(f"{API}/errors/").json(), 30, "the group of the failure")
    for account in (site.user, site.admin):
        page = site.visit(account).page
        for path in (
            "",
            "tasks",
            f"tasks/{task}",
            f"tasks/{failed}",
            "tasks?q=" + UGLY.replace(" ", "+"),
            "errors",
            "audit",
        ):
            page.goto(path)
            assert page.title() != "taken"
            assert page.locator("main img, main script").count() == 0
    page.goto(f"tasks/{failed}")
    for place in ("h1", ".problem", ".log[aria-label=Log]", ".log[aria-label=Output]", "#traceback"):
        expect(page.locator(place).first).to_contain_text("<script>")


@pytest.mark.parametrize(
    ("language", "scheme", "width"),
    [
        ("zh-CN", "dark", NARROW),
        *(
            pytest.param(*each, marks=pytest.mark.full)
            for each in (("en-US", "light", WIDE), ("en-US", "dark", NARROW), ("zh-CN", "light", WIDE))
        ),
    ],
)
def test_every_page_can_be_used_by_everybody(site: Site, language: str, scheme: Any, width: int) -> None:
    api = site.api(site.admin)
    task = api.create("echo", name=LONG, tags=[f"tag {number}" for number in range(50)])
    failed = api.create("retry_with_what_is_not_json", name=ARABIC)
    for each in (task, failed):
        api.ended(each)
    wait_for(lambda: api.http.get(f"{API}/errors/").json(), 30, "the group of the failure")
    group = api.http.get(f"{API}/errors/").json()[0]["fingerprint"]
    worker = api.http.get(f"{API}/workers/").json()[0]["name"]
    assert api.http.put(f"{API}/limits/licences", json={"concurrency": 2, "concurrency_per_key": 1}).status_code == 200
    visitor = site.visit(site.admin, language=language, scheme=scheme, width=width)
    paths = ("", "tasks", f"tasks/{task}", f"tasks/{failed}", "new", f"tasks/{failed}/change", "errors", "queues")
    of_one = (f"errors/{group}", "queues/default", f"workers/{quote(worker)}", "limits?change=licences")
    of_users = ("users", "users/new", f"users/{site.admin['id']}", "bulk", "audit", "account")
    for path in (*paths, *of_one, *of_users, "numbers", "x")[:: amount(day=3, night=1)]:
        visitor.page.goto(path)
        assert visitor.findings() == [], path
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visitor.page.evaluate(overflow) <= 0, f"{path} is wider than the window"
