"""The report as one HTML file that needs nothing beside it."""

from pathlib import Path

from tests.report.markup import bar, esc, failures, flaky_section, seconds, section, table, tag, with_note
from tests.report.measures import coverage_section, mutants_section, performance_section, security_section
from tests.report.model import Run, SuiteResult

SLOWEST = 15


def render(run: Run, reports: Path) -> str:
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    parts = [
        _head(run),
        _cards(run),
        failures(run.cases("failed")),
        flaky_section(run.flaky),
        _suites(run.suites),
        security_section(run.security),
        performance_section(run.performance, reports / "performance.png"),
        coverage_section(run.coverage),
        mutants_section(reports / "mutants.json"),
        _slowest(run),
        _skipped(run),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test report</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(run: Run) -> str:
    failed = run.count("failed")
    nothing = not failed and not run.count("passed")
    word = f"{failed} failed" if failed else "nothing ran" if nothing else "all passed"
    kind = "failed" if failed or nothing else "passed"
    return (
        f'<h1>Test report <span class="verdict {kind}">{word}</span></h1>'
        f'<p class="soft">{esc(run.started)} · {esc(run.machine)} · {seconds(run.seconds)} in all</p>'
    )


def _cards(run: Run) -> str:
    figures = [(str(run.count(kind)), kind) for kind in ("passed", "failed", "skipped")]
    if run.coverage:
        figures.append((f"{run.coverage['percent']:.0f} %", "coverage of app"))
    if run.flaky:
        figures.append((str(len(run.flaky)), "flaky"))
    figures.append((f"{sum(bool(suite.cases) for suite in run.suites)} of {len(run.suites)}", "suites ran"))
    cards = (f'<div class="card"><b>{value}</b><span class="soft">{name}</span></div>' for value, name in figures)
    return f'<div class="cards">{"".join(cards)}</div>'


def _suites(suites: list[SuiteResult]) -> str:
    heads = ["suite", "", "passed", "failed", "skipped", "time", ""]
    return section("Suites", table(heads, map(_suite, suites), numbers={2, 3, 4, 5}, wide={6}))


def _suite(suite: SuiteResult) -> list[str]:
    counts = {kind: suite.count(kind) for kind in ("passed", "failed", "skipped")}
    total = sum(counts.values())
    picture = bar([(kind, count / total) for kind, count in counts.items()]) if total else ""
    note = f'<span class="soft">{esc(suite.note)}</span>' if suite.note else ""
    name, told = f"<b>{esc(suite.name)}</b>", map(str, counts.values())
    return [name, tag(suite.state), *told, seconds(suite.seconds), picture + note]


def _slowest(run: Run) -> str:
    timed = [case for case in run.cases() if case.suite != "performance"]
    cases = sorted(timed, key=lambda case: -case.seconds)[:SLOWEST]
    if not cases or not cases[0].seconds:
        return ""
    rows = [
        [esc(case.suite), with_note(case.name, case.group), seconds(case.seconds),
         bar([("", case.seconds / cases[0].seconds)])]
        for case in cases
    ]  # fmt: skip
    return section("Slowest tests", table(["suite", "test", "time", ""], rows, numbers={2}, wide={3}))


def _skipped(run: Run) -> str:
    cases = [case for case in run.cases("skipped") if case.suite != "security"]
    rows = [[esc(case.suite), esc(case.name), esc(case.text)] for case in cases]
    return section("Skipped", table(["suite", "test", "why"], rows)) if rows else ""
