"""The form of a new task in a real browser: rows without leaving the page, local times, and the focus."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.site import Site

pytestmark = pytest.mark.timeout(300)


def form_of(site: Site, name: str = "tests.ship", **options: bool) -> Page:
    page = site.visit(site.user, **options).page
    page.goto(f"new?task={name}")
    return page


def test_rows_come_and_go_without_leaving_the_page(site: Site) -> None:
    page = form_of(site)
    page.get_by_label("Name", exact=True).fill("rows")
    page.evaluate("window.stays = true")
    for row in range(2):
        page.get_by_role("button", name="Add: orders").click()
        number = page.locator(f"[name='kwargs.orders.{row}.number']")
        expect(number).to_be_focused()
        number.fill(str(row + 7))
    page.get_by_role("button", name="Remove: orders #1", exact=True).click()
    expect(page.locator("[name='kwargs.orders.0.number']")).to_have_count(0)
    assert page.evaluate("window.stays")
    page.locator("[name='kwargs.at']").fill("2030-01-02T03:04:05")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("rows")
    expect(page.locator("[data-status]").first).to_have_attribute("data-status", "succeeded")
    task = site.api(site.user).get(page.url.rpartition("/")[2])
    assert task["kwargs"] == {"orders": [{"number": 8}], "at": "2030-01-02T03:04:05Z"}


def test_without_javascript_the_same_buttons_send_the_form(site: Site) -> None:
    page = form_of(site, scripts=False)
    page.get_by_role("button", name="Add: orders").click()
    expect(page.locator("[name='kwargs.orders.0.number']")).to_be_focused()
    page.locator("[name='kwargs.orders.0.number']").fill("1")
    page.locator("[name='kwargs.at']").fill("2030-01-02T03:04:05")
    page.get_by_role("button", name="JSON").click()
    expect(page.locator("[name=json]")).to_have_value(re.compile(re.escape('"number": 1')))
    page.get_by_role("button", name="Form").click()
    expect(page.locator("[name='kwargs.orders.0.number']")).to_have_value("1")
    page.locator("[name='kwargs.at']").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("ship")


def test_a_time_is_local_where_its_reader_has_chosen_so(site: Site) -> None:
    page = form_of(site)
    page.get_by_role("button", name="local time").click()
    page.context.new_cdp_session(page).send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Shanghai"})
    page.goto("new?task=tests.ship")
    at = page.locator("[name='kwargs.at']")
    expect(page.locator("label[for='field-kwargs.at']")).to_contain_text("local time")
    at.fill("2030-01-02T08:00:30")
    page.get_by_role("button", name="Add: orders").click()
    expect(page.locator("[name='kwargs.orders.0.number']")).to_be_focused()
    expect(at).to_have_value("2030-01-02T08:00:30")  # it went to the server and came back
    page.locator("[name='kwargs.orders.0.number']").fill("1")
    page.get_by_role("button", name="JSON").click()
    expect(page.locator("[name=json]")).to_have_value(re.compile(re.escape('"at": "2030-01-02T00:00:30Z"')))
    page.get_by_role("button", name="Form").click()
    expect(at).to_have_value("2030-01-02T08:00:30")


def test_the_focus_is_on_the_first_field_that_is_wrong(site: Site) -> None:
    page = form_of(site)
    page.get_by_role("button", name="Add: orders").click()
    number = page.locator("[name='kwargs.orders.0.number']")
    number.fill("1")
    page.locator("[name='kwargs.at']").fill("2030-01-02T03:04:05")
    page.get_by_text("Options").click()
    page.get_by_label("Start at").fill("2030-01-02T03:04:05")
    page.get_by_label("Start in … seconds").fill("5")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_label("Start at")).to_be_focused()
    expect(page.get_by_role("alert").get_by_role("link", name="Start at")).to_be_visible()
    assert site.visitors[-1].findings() == []
    page.get_by_role("alert").get_by_role("link").click()
    expect(number).to_have_value("1")
