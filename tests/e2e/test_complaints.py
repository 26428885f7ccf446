"""Ten complaints about the pages of other task services, each as a test that sees the opposite here."""

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.support.accounts import API, PASSWORD
from tests.support.browser import press_and_confirm, select_all_that_match
from tests.support.running import lines
from tests.support.site import Site
from tests.support.stack import Stack, node_name
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

STATUS = ".heading [data-status]"
# What is asked for on few tasks and on many. What reads them all becomes a thousand times slower.
PATHS = (
    "",
    "tasks",
    "tasks?q=status:failed",
    "tasks?q=tag:none",
    "tasks?q=status:running+queue:default",
    "errors",
    "errors?q=none&sort=count",
    "queues",
    "queues/default",
    "limits",
)
FEW, MANY, REPEATS, RATIO = 100, 100_000, 25, 5.0
# Of asking for all pages: the least of one round may still be that of a busy machine.
ROUNDS = 3
COPIES = """INSERT INTO tasks (id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue,
    status, error_fingerprint, started_at, finished_at, attempt, progress)
SELECT uuidv7(- n * interval '1 second'), uuidv7(), user_id, name, task_type, celery_task_name, args, kwargs, priority, queue,
    CASE n % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'revoked' ELSE 'succeeded' END, CASE n % 10 WHEN 0 THEN md5('x') END,
    now() - n * interval '1 second', now() - n * interval '1 second', 1, 100
FROM tasks, generate_series(1, :number) n WHERE tasks.id = :id"""


def deeds(page: Page) -> set[str]:
    return set(page.locator(".heading .deeds button").all_inner_texts())


def quickest(browser: httpx.Client) -> dict[str, float]:
    """Seconds of each page, the least of many that are asked for in turn: what else runs here only adds to them."""
    taken: dict[str, list[float]] = {path: [] for path in PATHS}
    for _ in range(REPEATS):
        for path, seconds in taken.items():
            begun = time.perf_counter()
            assert browser.get(path).status_code == 200
            seconds.append(time.perf_counter() - begun)
    return {path: min(seconds) for path, seconds in taken.items()}


@pytest.fixture
def browser(site: Site) -> Iterator[httpx.Client]:
    """An administrator who is signed in."""
    same = {"Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=f"{site.stack.url}/ui/", headers=same, timeout=60) as client:
        answer = client.post("sign-in", data={"username": site.admin["username"], "password": PASSWORD})
        assert answer.status_code == 303
        yield client


def fill(stack: Stack, task_id: str, number: int) -> None:
    """So many ended tasks like this one, once maintenance has counted them."""
    stack.sql(COPIES, id=task_id, number=number)
    stack.sql("ANALYZE tasks")
    for table in ("task_count_changes", "task_submissions"):
        wait_for(lambda: stack.sql(f"SELECT count(*) FROM {table}")[0][0] == 0, 120, f"{table} to be added up")  # noqa: B023


def test_1_pages_stay_quick_where_there_are_many_tasks(site: Site, browser: httpx.Client) -> None:
    task = site.api(site.user).create("echo", delay_seconds=3600)
    fill(site.stack, task, FEW)
    few = quickest(browser)
    fill(site.stack, task, MANY)
    many = dict.fromkeys(PATHS, math.inf)
    for _ in range(ROUNDS):
        many = {path: min(many[path], seconds) for path, seconds in quickest(browser).items()}
        slower = {path: many[path] / few[path] for path in PATHS}
        if max(slower.values()) < RATIO:
            break
    assert max(slower.values()) < RATIO, (slower, many)
    assert f"all <b>{MANY + FEW + 1:,}" in browser.get("tasks").text


def test_2_a_deed_is_done_to_all_that_a_search_finds_and_not_to_the_page(site: Site) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    kept = api.create("echo", name="kept", delay_seconds=3600)
    body = {"name": "many", "task_type": "t", "celery_task_name": "tests.echo", "delay_seconds": 3600}
    for _ in range(2):
        assert api.http.post(f"{API}/tasks/batch", json={"tasks": [body] * 1000}).status_code == 201
    page = site.visit(account).page
    page.goto("tasks?q=many")
    expect(page.get_by_role("button", name="Cancel …")).to_be_hidden()  # nothing is selected
    select_all_that_match(page)
    page.get_by_role("button", name="Cancel …").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel: 2,000 tasks")
    page.get_by_label("Type 2000").fill("200")
    page.get_by_role("button", name="Cancel: 2,000 tasks").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel: 2,000 tasks")  # the browser refuses it
    page.get_by_label("Type 2000").fill("2000")
    page.get_by_role("button", name="Cancel: 2,000 tasks").click()
    expect(page.locator("#deed [data-status]")).to_have_attribute("data-status", "finished", timeout=60_000)
    counts = api.http.get(f"{API}/tasks/count").json()
    assert (counts["revoked"], counts["pending"]) == (2000, 1)
    page.goto("tasks?q=status:pending")
    page.locator(f"tr[data-task-id='{kept}'] [data-select]").check()
    page.get_by_role("button", name="Cancel …").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel: 1 task")
    expect(page.get_by_text("The selected tasks.")).to_be_visible()


def test_3_failures_are_groups_and_a_group_is_tried_again(site: Site) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    for number in range(3):
        api.ended(api.create("retry_with_what_is_not_json", name=f"fails {number}"))
    page = site.visit(account).page
    page.goto("errors")
    group = page.locator("tr.group")
    link = group.get_by_role("link", name="3 failed tasks")
    wait_for(lambda: page.reload() and link.count() == 1, 20, "the group of the three")
    link.click()
    expect(page.locator("tr[data-task-id]")).to_have_count(3)
    page.go_back()
    group.locator("a.what").click()
    expect(page.locator("#traceback pre")).to_contain_text("is not JSON")
    page.get_by_role("button", name="Retry all").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry: 3 tasks")
    page.goto("errors")
    group.get_by_role("button", name="Resolve").click()
    expect(page.get_by_text("No failures here.")).to_be_visible()
    page.get_by_role("link", name="resolved 1").click()
    expect(group).to_have_count(1)
    group.locator("a.what").click()
    page.get_by_role("button", name="Reopen").click()
    page.get_by_role("button", name="Ignore …").click()
    page.get_by_label("For how long").select_option("30 days")
    page.get_by_role("button", name="Ignore", exact=True).click()
    expect(page.get_by_text("The error is ignored for that time.")).to_be_visible()
    expect(page.locator(".heading [data-status]")).to_have_text("ignored")


def test_4_a_number_a_list_and_a_button_mean_the_same_tasks(site: Site) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    for name, status in (("retry_with_what_is_not_json", "failed"), ("echo", "succeeded")):
        for _ in range(3):
            api.until(api.create(name, name="of the number"), status)
    for _ in range(2):
        api.post(api.create("echo", name="of the number", delay_seconds=3600), "cancel")
    page = site.visit(account).page
    for status, number, button in (("failed", 3, "Retry"), ("succeeded", 3, "Delete"), ("revoked", 2, "Retry")):
        page.goto("tasks")
        page.locator("#tabs").get_by_role("link", name=f"{status} {number}").click()
        expect(page.locator("#tabs [aria-current]")).to_have_text(f"{status} {number}")
        expect(page.locator("tr[data-task-id]")).to_have_count(number)
        select_all_that_match(page)
        page.get_by_role("button", name=f"{button} …").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{button}: {number} tasks")


def test_5_numbers_are_of_an_hour_and_a_quiet_second_does_not_empty_them(site: Site) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    for _ in range(3):
        api.run("echo")
    page = site.visit(account).page
    page.goto("")
    ended = page.locator("#period [data-status=succeeded] b")
    expect(ended).to_have_text("3", timeout=30_000)
    page.clock.install()  # the page's own clock: its refreshes go on, while nothing happens
    page.reload()
    for _ in range(3):
        with page.expect_response(lambda answer: answer.url.endswith("/ui/")):
            page.clock.run_for(5_100)
    expect(ended).to_have_text("3")
    expect(page.locator("#throughput rect.succeeded")).not_to_have_count(0)
    page.goto("queues")
    expect(page.get_by_text("Started in the last minute").first).to_be_visible()


def test_6_what_cannot_be_done_is_not_offered(site: Site, gate: Path, tmp_path: Path) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    again = {"Retry with changes", "Retry", "Delete"}
    cancelled = api.create("echo", delay_seconds=3600)
    api.post(cancelled, "cancel")
    running = api.create("hold", str(gate), str(tmp_path / "ledger"))
    api.until(running, "running")
    offered = {
        api.create("echo", delay_seconds=3600): {"Run now", "Cancel"},
        running: {"Cancel"},
        str(api.run("echo")["id"]): {"Retry with changes", "Delete"},
        str(api.run("retry_with_what_is_not_json")["id"]): again,
        cancelled: again,
    }
    page = site.visit(account).page
    for task, wanted in offered.items():
        page.goto(f"tasks/{task}")
        assert deeds(page) == wanted
    page.goto("tasks?q=status:succeeded")
    page.get_by_label("Select the page").check()
    assert set(page.locator("#bulk button").all_inner_texts()) == {"Delete …"}


def test_7_a_task_is_stopping_until_its_body_has_ended(site: Site, tmp_path: Path) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    ledger = tmp_path / "ledger"
    task = api.create("deaf", str(ledger), "swallowing")  # it ends by SIGKILL, after CANCEL_GRACE_SECONDS
    wait_for(lambda: lines(ledger), 30, "the body to run")
    pid = int(lines(ledger)[0])
    page = site.visit(account).page
    page.goto(f"tasks/{task}")
    press_and_confirm(page, "Cancel")
    status = page.locator(STATUS)
    expect(status).to_have_text("stopping")
    expect(status).to_have_attribute("data-status", "running")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    os.kill(pid, 0)  # it is there
    expect(status).to_have_attribute("data-status", "revoked", timeout=40_000)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_8_a_task_of_a_dead_worker_is_ended_by_hand(site: Site, gate: Path, tmp_path: Path) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    for _ in range(2):  # the slots of the other worker
        api.until(api.create("hold", str(gate), str(tmp_path / "others")), "running")
    doomed = site.stack.worker(concurrency=1)
    task = api.create("hold", str(gate), str(tmp_path / "ledger"))
    assert api.until(task, "running")["worker"] == node_name(doomed)
    page = site.visit(account).page
    page.goto(f"tasks/{task}")
    expect(page.locator(STATUS)).to_have_attribute("data-status", "running")
    for child in doomed.children():
        os.kill(child, signal.SIGKILL)
    doomed.kill()
    press_and_confirm(page, "Cancel")
    expect(page.locator(STATUS)).to_have_attribute("data-status", "revoked", timeout=60_000)
    assert len(lines(tmp_path / "ledger")) == 1  # and it was not begun again


def test_9_a_task_is_changed_before_it_is_tried_again_and_need_not_wait(site: Site) -> None:
    account = site.stack.make_user()[0]
    api = site.api(account)
    ended = api.run("app.tasks.common_tasks.long_running_task", kwargs={"duration": 0.1})
    page = site.visit(account).page
    page.goto(f"tasks/{ended['id']}")
    page.get_by_role("button", name="Retry with changes").click()
    page.locator("[name='kwargs.duration']").fill("0.2")
    page.get_by_label("Start in … seconds").fill("3600")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_text("Waits for its time:")).to_be_visible()
    expect(page.get_by_role("link", name=str(ended["id"]))).to_be_visible()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(STATUS)).to_have_attribute("data-status", "succeeded")
    assert api.get(page.url.rpartition("/")[2])["kwargs"] == {"duration": 0.2}
    assert api.get(str(ended["id"]))["kwargs"] == {"duration": 0.1}


def test_10_a_task_says_why_it_waits(site: Site, gate: Path, tmp_path: Path) -> None:
    api = site.api(site.user)
    bound = site.api(site.admin).http.put(f"{API}/limits/one-at-a-time", json={"concurrency": 1})
    assert bound.status_code in {200, 201}, bound.text
    api.until(api.create("hold", str(gate), str(tmp_path / "ledger"), limit="one-at-a-time"), "running")
    page = site.visit(site.user).page
    for fields, why in (
        ({"delay_seconds": 3600}, "Waits for its time:"),
        ({"limit": "one-at-a-time"}, "Waits for a place of the limit one-at-a-time"),
    ):
        page.goto(f"tasks/{api.create('echo', **fields)}")
        expect(page.locator(".why")).to_contain_text(why)
    gate.touch()
    administration = site.visit(site.admin).page
    administration.goto("queues")
    queue = administration.locator("#queues tr", has=administration.get_by_role("link", name="low_priority"))
    queue.get_by_role("button", name="Pause …").click()
    queue.get_by_label("Reason").fill("database maintenance")
    queue.get_by_role("button", name="Pause", exact=True).click()
    expect(queue.locator("[data-status=paused]")).to_be_visible()
    page.goto(f"tasks/{api.create('echo', priority='low')}")
    expect(page.locator(".why")).to_contain_text("Its queue is paused:")
    queue.get_by_role("button", name="Resume").click()
    expect(page.locator(STATUS)).to_have_attribute("data-status", "succeeded")
