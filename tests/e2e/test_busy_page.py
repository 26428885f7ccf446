"""A page whose rows change a thousand times a second: no last state is missed, and the page still answers its reader."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
import redis
from playwright.sync_api import Page
from sqlalchemy import text

from app.messaging.hints import CHANNEL_NAME, pack_ids
from tests.support.accounts import API
from tests.support.site import Site
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

ROWS, ROUNDS_A_SECOND = 50, 20
PROBES, CLICKS = 60, 40
SLOWER = 12  # at most; seen: twice
# In the page: the number of each row and the moment at which it is painted, and how long a click waits for its frame.
WATCH = """() => {
  window.seen = []; window.clicks = [];
  new MutationObserver((records) => requestAnimationFrame(() => {
    for (const record of records) if (record.attributeName === "aria-valuenow")
      window.seen.push([record.target.getAttribute("aria-valuenow"), Date.now()]);
  })).observe(document.getElementById("rows"), {attributes: true, subtree: true});
  document.addEventListener("click", (event) =>
    requestAnimationFrame(() => window.clicks.push(performance.now() - event.timeStamp)), true);
}"""
SHOWN = """() => Object.fromEntries([...document.querySelectorAll("#rows tbody tr")].map(
  (row) => [row.dataset.taskId, Number(row.querySelector("progress").getAttribute("aria-valuenow"))]))"""


class Changes:
    """Changes rows as a worker does: commits, then tells the API processes of it."""

    def __init__(self, site: Site, user_id: str) -> None:
        self._site, self._user_id, self.rounds = site, user_id, 0
        self._broker = redis.Redis.from_url(site.stack.broker_url)
        database = self._broker.connection_pool.connection_kwargs.get("db", 0)
        self._channel = f"{CHANNEL_NAME}:{database}"

    def close(self) -> None:
        self._broker.close()

    def change(self, which: str = "user_id = :user", progress: int | None = None) -> float:
        """Set the progress of the rows, of each to a number of its own where none is given; the time of the commit."""
        new = "random(0, 99)" if progress is None else ":progress"
        change = f"UPDATE tasks SET progress = {new}, version = version + 1 WHERE {which} RETURNING id"
        with self._site.stack.engine.begin() as db:
            ids = list(db.execute(text(change), {"progress": progress, "user": self._user_id}).scalars())
        committed = time.time()
        self._broker.publish(self._channel, pack_ids(ids))
        return committed

    @contextmanager
    def a_thousand_a_second(self) -> Iterator[None]:
        """All rows, round by round."""
        done = Event()

        def run() -> None:
            due = time.monotonic()
            while not done.is_set():
                self.change()
                self.rounds += 1
                due += 1 / ROUNDS_A_SECOND
                done.wait(max(0.0, due - time.monotonic()))

        thread = Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def clicks(page: Page, number: int) -> list[float]:
    """Milliseconds from an input to the frame that shows its effect."""
    page.evaluate("window.clicks = []")
    for _ in range(number):
        page.locator("[data-help]").click()
        page.locator("#keys button").click()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return list(page.evaluate("window.clicks"))


def test_a_thousand_changes_a_second_miss_no_last_state_and_leave_the_page_usable(site: Site) -> None:
    account = site.stack.make_user()[0]
    body = {"name": "row", "task_type": "t", "celery_task_name": "tests.echo", "delay_seconds": 3600}
    made = site.api(account).http.post(f"{API}/tasks/batch", json={"tasks": [body] * ROWS})
    assert made.status_code == 201, made.text
    one = f"id = '{made.json()['tasks'][0]['id']}'"
    page = site.visit(account).page
    page.goto("tasks")
    page.locator("[data-live=live]").wait_for()
    page.evaluate(WATCH)
    changes = Changes(site, account["id"])
    try:
        to_pixel = []
        for probe in range(PROBES):
            committed = changes.change(one, probe + 1)
            wait_for(lambda: page.evaluate("window.seen.length"), 20, "the change to be painted")
            to_pixel.append(page.evaluate("window.seen.splice(0)[0][1]") - committed * 1000)
        quiet = clicks(page, CLICKS)
        begun = time.monotonic()
        with changes.a_thousand_a_second():
            busy = clicks(page, CLICKS)
        rate = changes.rounds * ROWS / (time.monotonic() - begun)
        last = dict(site.stack.sql("SELECT id::text, progress FROM tasks WHERE user_id = :user", user=account["id"]))
        wait_for(lambda: page.evaluate(SHOWN) == last, 20, "all rows to show their last state")
    finally:
        changes.close()
    assert p95(busy) < SLOWER * p95(quiet)
    for name, values in (("event to pixel", to_pixel), ("a click while quiet", quiet), ("a click while busy", busy)):
        print(f"{name}: p50 {statistics.median(values):.0f} ms, p95 {p95(values):.0f} ms")  # noqa: T201 (with pytest -s)
    print(f"{rate:.0f} changes a second")  # noqa: T201
