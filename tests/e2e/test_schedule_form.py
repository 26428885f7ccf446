"""The form of a schedule in a real browser: the next times follow what is typed, and the page is left by its button."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.support.browser import NARROW
from tests.support.site import Site

pytestmark = pytest.mark.timeout(300)


def test_the_next_times_follow_what_is_typed(site: Site) -> None:
    page = site.visit(site.user).page
    page.goto("schedules/new")
    shown = page.locator("#preview")
    expect(shown).to_contain_text("Type a cron line")
    page.get_by_role("textbox", name="Cron line").fill("30 2 * * *")
    expect(shown).to_contain_text("every day at 02:30, UTC")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Not before").fill("2099-03-27T00:00:00")
    expect(shown).to_contain_text("The clock is put forward by 1 h")
    expect(shown.locator("tbody tr")).to_have_count(6)
    page.get_by_role("textbox", name="Cron line").fill("61 * * * *")
    expect(shown).to_contain_text("must be from 0 to 59")
    page.get_by_label("interval", exact=True).check()
    expect(page.get_by_role("textbox", name="Cron line")).to_be_hidden()
    page.get_by_label("Seconds from one time to the next").fill("90")
    expect(shown).to_contain_text("every 90 s")
    page.get_by_label("Name of the schedule").fill("by hand")
    page.locator("[name='kwargs.duration']").fill("1")
    assert site.visitors[-1].findings() == []
    page.get_by_role("button", name="Create schedule").last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("by hand")
    expect(page.locator(".lead")).to_contain_text(re.compile(r"every 90 s\.\s+Next:\s+in"))


def test_the_preview_is_asked_for_with_the_times_alone(site: Site) -> None:
    """What else is typed may be secret or long, and addresses are logged."""
    page = site.visit(site.user).page
    page.goto("schedules/new")
    page.get_by_label("Name of the schedule").fill("a name")
    page.locator("[name='schedule.metadata']").fill('{"password": "s3cret"}', force=True)
    with page.expect_request(lambda request: "/schedules/preview" in request.url) as asked:
        page.get_by_role("textbox", name="Cron line").fill("30 2 * * *")
    typed = parse_qs(urlsplit(asked.value.url).query, keep_blank_values=True)
    names = ("by", "cron", "every_seconds", "timezone", "start_at", "end_at")
    assert {*typed} == {f"schedule.{name}" for name in names}
    assert typed["schedule.cron"] == ["30 2 * * *"]


def test_it_is_paused_in_a_dialog_and_deleted_after_a_question(site: Site) -> None:
    page = site.visit(site.user).page
    page.goto("schedules/new")
    page.get_by_label("Name of the schedule").fill("paused")
    page.get_by_role("textbox", name="Cron line").fill("@yearly")
    page.locator("[name='kwargs.duration']").fill("1")
    page.get_by_role("button", name="Create schedule").last.click()
    page.get_by_role("button", name="Pause …").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("The schedule is paused")
    page.get_by_role("button", name="Resume …").click()
    expect(page.get_by_role("dialog")).to_contain_text("count as missed: run the last one")
    page.get_by_role("dialog").get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("The schedule goes on")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator("#ask").get_by_role("button", name="Delete").click()
    expect(page.locator(".notice")).to_contain_text("The schedule is deleted")


def test_times_stay_in_the_zone_of_the_schedule_where_local_time_is_chosen(site: Site) -> None:
    page = site.visit(site.user).page
    page.context.new_cdp_session(page).send("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    page.goto("schedules/new")
    page.get_by_role("button", name="local time").click()
    page.get_by_label("Name of the schedule").fill("far away")
    page.get_by_role("textbox", name="Cron line").fill("3 0 * * *")
    page.get_by_label("Time zone").fill("Asia/Shanghai")
    page.locator("[name='kwargs.duration']").fill("1")
    page.get_by_role("button", name="Create schedule").last.click()
    at_three = re.compile(r"\w{3} \d{4}-\d\d-\d\d 00:03")
    expect(page.locator(".lead")).to_contain_text(at_three)
    expect(page.locator(".coming tbody tr").first).to_contain_text(at_three)
    expect(page.locator(".coming tbody b")).to_have_count(10)
    page.get_by_role("link", name="Change", exact=True).click()
    expect(page.locator(".coming tbody tr").first).to_contain_text(at_three)


def test_the_next_times_move_no_field_on_a_narrow_page(site: Site) -> None:
    page = site.visit(site.user, width=NARROW).page
    page.goto("schedules/new")
    line = page.get_by_role("textbox", name="Cron line")
    before = line.bounding_box()
    line.fill("30 2 * * *")
    expect(page.locator("#preview tbody tr")).to_have_count(5)
    assert line.bounding_box() == before
    expect(page.locator("#preview")).to_be_in_viewport()
