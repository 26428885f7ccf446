"""docs/monitoring as an operator uses it: a real Prometheus scrapes the API, and every query has its answer."""

import json
import re
from pathlib import Path

import pytest

from tests.support.accounts import API
from tests.support.prometheus import ALERT_TESTS, JOB, MONITORING, Prometheus, dashboard, dashboard_queries, promtool
from tests.support.running import Running, Start
from tests.support.sources import assert_none, text_of
from tests.support.stack import node_name
from tests.support.tools import needs_program
from tests.support.waiting import wait_for

README = text_of(MONITORING / "README.md")
SECONDS = 40
TOTAL = f'sum(celery_task_{{}}_total{{{{job="{JOB}"}}}})'


def metrics_key(running: Running) -> str:
    """An API key of an administrator, as docs/monitoring/README.md has it made."""
    (body,) = re.findall(r"-d '(\{.*\})'", README)
    answer = running.stack.api(role="admin").post(f"{API}/auth/api-keys", json=json.loads(body))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def test_the_dashboard_takes_any_data_source_and_no_panel_covers_another() -> None:
    found = dashboard()
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${datasource}"}
    places = [
        (panel["gridPos"]["y"] + y, panel["gridPos"]["x"] + x)
        for panel in panels
        for y in range(panel["gridPos"]["h"])
        for x in range(panel["gridPos"]["w"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for _, x in places) < 24


@needs_program("promtool")
class TestFiles:
    def test_are_what_prometheus_reads(self, tmp_path: Path) -> None:
        promtool(tmp_path, "check", "config", "prometheus.yml")
        promtool(tmp_path, "check", "rules", "alerts.yml")
        (more,) = re.findall(r"^```yaml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
        (tmp_path / "more.yml").write_text(text_of(MONITORING / "prometheus.yml") + more)
        promtool(tmp_path, "check", "config", "more.yml")

    def test_each_alert_fires_when_it_should_and_not_else(self, tmp_path: Path) -> None:
        promtool(tmp_path, "test", "rules", ALERT_TESTS.name)
        alerts = re.findall(r"^ +- alert: (\w+)$", text_of(MONITORING / "alerts.yml"), flags=re.MULTILINE)
        assert len(alerts) > 10
        assert_none(f"alerts_test.yml: nothing of {name}" for name in alerts if name not in text_of(ALERT_TESTS))


def run_until_seen(running: Running, prometheus: Prometheus, ledger: str) -> None:
    """Have tasks end in every way, twice: a rate needs two values of each counter."""
    for times in (1, 2):
        running.run("echo")
        running.run("retry_automatically", ledger)
        for priority in ("high", "low"):
            running.run("echo", priority=priority)
        assert running.post(running.create("echo", delay_seconds=1000), "cancel").is_success
        enough = f"{TOTAL.format('revoked')} >= {times}"
        wait_for(lambda enough=enough: prometheus.query(enough), SECONDS, "Prometheus to see the tasks")


@needs_program("prometheus")
@pytest.mark.timeout(180)
def test_every_query_is_answered(start: Start, tmp_path: Path) -> None:
    running = start(DOCS_ENABLED="false")
    running.stack.worker()
    assert running.http.get("/metrics").status_code == 404  # of a user
    assert running.stack.api(token="").get("/metrics").status_code == 404
    with Prometheus(running.stack, metrics_key(running)) as prometheus:
        run_until_seen(running, prometheus, str(tmp_path / "ledger"))
        seen = {name: prometheus.value(TOTAL.format(name)) for name in ("sent", "succeeded", "failed", "retried")}
        assert seen == {"sent": 10, "succeeded": 6, "failed": 2, "retried": 4}
        assert prometheus.value(f'celery_worker_up{{hostname="{node_name(running.worker)}"}}') == 1
        assert [title for title, query in dashboard_queries() if not prometheus.query(query)] == []
        for variable in dashboard()["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.findall(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"])[0]
                assert prometheus.ask(f"/label/{label}/values", **{"match[]": metric}), variable["name"]
        (group,) = prometheus.ask("/rules")["groups"]
        states = {rule["name"]: (rule["health"], rule["state"]) for rule in group["rules"]}
        assert states == dict.fromkeys(states, ("ok", "inactive"))
