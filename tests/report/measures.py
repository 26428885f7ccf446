"""The sections of the page that show figures: security, performance, coverage."""

import base64
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.mutants.mutants import read_mutants
from tests.report.markup import bar, esc, row, section, table, tag, with_note

GOOD_PERCENT, POOR_PERCENT = 85, 60
SEEN_BY = {"passed": "", "failed": "no test", "skipped": "not tried since its code or tests changed"}


def coverage_section(data: dict[str, Any] | None) -> str:
    if not data:
        return ""
    rows = [
        [f"<span class=mono>{esc(part['name'])}</span>", str(part["statements"]), str(part["missing"]),
         f"{part['percent']:.0f} %", bar([(_colour(part["percent"]), part["percent"] / 100)])]
        for part in data["packages"]
    ]  # fmt: skip
    told = (
        f"<p class=soft>{data['percent']:.1f} % of the lines of <span class=mono>app</span>, {_of_parts(data)}in the "
        "tests' own process and in the API, worker and beat processes they start. A process ended by SIGKILL leaves no figures.</p>"
    )
    heads = ["package", "statements", "missing", "covered", ""]
    return section("Coverage", told + table(heads, rows, numbers={1, 2, 3}, wide={4}))


def _of_parts(data: dict[str, Any]) -> str:
    return f"by the parts {', '.join(data['parts'])}, " if "parts" in data else ""


def _colour(percent: float) -> str:
    return "passed" if percent >= GOOD_PERCENT else "skipped" if percent >= POOR_PERCENT else "failed"


def mutants_section(path: Path) -> str:
    """Which test saw which single break of the application, by `python -m tests.mutants`; of a mutant whose code or tests
    have changed since, that it was not tried."""
    if not path.exists():
        return ""
    digests = {mutant.name: mutant.digest() for mutant in read_mutants()}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return section("Mutants", f"<p>{esc(path)} cannot be read: {esc(error)}</p>")
    results.sort(key=lambda result: (bool(result["seen_by"]), result["name"]))
    outcomes = [_outcome(result, digests) for result in results]
    rows = [
        [tag(outcome), with_note(result["name"], result["breaks"]), esc(SEEN_BY[outcome] or result["seen_by"])]
        for outcome, result in zip(outcomes, results, strict=True)
    ]
    old = f", {outcomes.count('skipped')} not tried since" if "skipped" in outcomes else ""
    title = f"Mutants: {outcomes.count('passed')} of {len(digests)} seen{old}"
    return section(title, table(["", "mutant", "seen by"], rows))


def _outcome(result: dict[str, Any], digests: dict[str, str]) -> str:
    if result["digest"] != digests.get(result["name"]):
        return "skipped"
    return "passed" if result["seen_by"] else "failed"


def security_section(data: dict[str, Any] | None) -> str:
    if not data:
        return ""
    body = f"<p class=soft>Black-box probes of <span class=mono>security_test.py</span> against {esc(data['url'])}.</p>"
    for group, checks in groupby(data["checks"], key=lambda check: check["group"]):
        rows = [row([tag(check["outcome"]), with_note(check["name"], check["detail"])]) for check in checks]
        body += f"<h3>{esc(group)}</h3><table class=checks>{''.join(rows)}</table>"
    return section("Security", body)


def performance_section(data: dict[str, Any] | None, plot: Path) -> str:
    """The endpoints with their plot, then what was compared, with the plots that lie beside it."""
    if not data:
        return ""
    others = sorted(plot.parent.glob(f"{plot.stem}-*.png"))
    return section("Performance", _endpoints(data) + _picture(plot) + _compared(data) + "".join(map(_picture, others)))


def _endpoints(data: dict[str, Any]) -> str:
    if not data["endpoints"]:
        return ""
    rows = [
        [f"<span class=mono>{esc(end['name'])}</span>", str(end["requests"]), f"{end['per_second']:.0f}",
         *(f"{end['milliseconds'][key]:.1f}" for key in ("p50", "p90", "p99", "max")),
         f"{end['ratio']:.2f}", f"<b>{sum(end['errors'].values())}</b>" if end["errors"] else "0"]
        for end in data["endpoints"]
    ]  # fmt: skip
    heads = ["endpoint", "requests", "per second", "p50 ms", "p90", "p99", "max", "vs /healthz", "errors"]
    told = f"<p class=soft>{data['clients']} clients at once; {esc(data['server'])}. Ratios hold, absolute figures drift.</p>"
    return told + table(heads, rows, numbers=range(1, 9))


def _compared(data: dict[str, Any]) -> str:
    compared = [line for findings in data["sections"] for line in findings["rows"]]
    if not compared:
        return ""
    rows = [
        [with_note(line["what"], line["note"]), *(esc(line[key]) for key in ("against", "goal", "measured")), _verdict(line)]
        for line in compared
    ]  # fmt: skip
    told = f"<p class=soft>Size {esc(data['size'])}, rounds: {data['machine']['rounds']}. A goal that is not reached fails nothing.</p>"
    return "<h3>Compared</h3>" + told + table(["what", "against", "goal", "measured", ""], rows)


def _verdict(line: dict[str, Any]) -> str:
    kind = {"reached": "passed", "NOT REACHED": "failed"}.get(line["verdict"], "skipped")
    return f'<span class="tag {kind}">{esc(line["verdict"])}</span>'


def _picture(plot: Path) -> str:
    if not plot.exists():
        return ""
    return f'<img alt="{esc(plot.stem)}" src="data:image/png;base64,{base64.b64encode(plot.read_bytes()).decode()}">'
