#!/usr/bin/env python3
"""Response times, throughput and cost of the service, beside what one would use instead of it.

    python performance_test.py                           everything, small: some half an hour
    python performance_test.py --only submit,run         some sections of it
    python performance_test.py --full                    five rounds, medians and extremes, millions of rows: hours
    python performance_test.py http://127.0.0.1:8000     the endpoints of a server that runs on this machine

With a URL: percentiles and requests per second of each endpoint and its ratio to a bare /healthz, measured turn by turn
with it. Its tasks are removed at the end, after Ctrl-C too, and so is its account, where an administrator is known:
FIRST_ADMIN_USERNAME and FIRST_ADMIN_PASSWORD in the environment, in .env or from run_server.py. Else a line names it.

Without a URL, on servers and processes of its own: the same, and the sections below, each against its comparator
(plain Celery, a hand-written endpoint, Flower, a bare FastAPI application, Redis pub/sub), which are carried along.
On a shared machine ratios hold and absolute figures drift. A goal that is not reached is told and fails nothing; errors
are counted and shown, and make the exit code 1. Load goes to loopback addresses alone and is bounded in count and time.
"""

import argparse
import compileall
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx

from tests.performance import documents, flames, plots, table as tables
from tests.performance.bench import Bench
from tests.performance.endpoints import measure_endpoints
from tests.performance.figures import Row, table
from tests.performance.findings import Findings
from tests.performance.machine import machine
from tests.performance.sections import NAMES, WAS_STOPPED, measure_all
from tests.performance.sizes import FULL, MAX_CLIENTS, MAX_REQUESTS, MAX_ROUNDS, MAX_SECONDS, QUICK, Size
from tests.support.leftovers import Credentials, known_administrators
from tests.support.loopback import CannotBegin, loopback

CANNOT, STOPPED = 2, 130
ENDPOINTS = "endpoints"
OF_A_URL = replace(QUICK, requests=2000, seconds=10, rounds=2)


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    try:
        chosen = _chosen(options)
        return _measure_url(options) if options.url else _measure_own(options, chosen)
    except (CannotBegin, httpx.HTTPError, OSError) as error:
        sys.stderr.write(f"error: {str(error) or type(error).__name__}\n")
        return CANNOT
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"sections: {', '.join((ENDPOINTS, *NAMES))}",
    )
    parser.add_argument("url", nargs="?", help="of a running server on this machine; without it one is started")
    parser.add_argument("--only", metavar="SECTION,…", help="these sections alone")
    parser.add_argument("--full", action="store_true", help="five rounds, large counts, millions of rows")
    parser.add_argument("--no-fsync", action="store_true", help="PostgreSQL does not wait for its disk")
    parser.add_argument("--clients", type=int, help="connections at once (32)")
    parser.add_argument("--requests", type=int, help="of each endpoint and round, at most (2000; without a URL 800)")
    parser.add_argument("--seconds", type=float, help="for each endpoint and round, at most (10; without a URL 4)")
    parser.add_argument("--rounds", type=int, help="how often all take their turn (2; without a URL 1; full: 5)")
    parser.add_argument(
        "--username", default=os.environ.get("TEST_USERNAME"), help="or TEST_USERNAME; else a new account"
    )
    parser.add_argument("--password", default=os.environ.get("TEST_PASSWORD"), help="or TEST_PASSWORD")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--markdown", type=Path, action="append", metavar="FILE",
        help="write the tables there, or into the places that it has for them; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--plot", type=Path, metavar="PATH", help="draw there, as PNG: into a directory, or beside FILE.png"
    )
    parser.add_argument(
        "--flame", type=Path, metavar="DIR", help="flame graphs of submit, batch, read, run; needs py-spy"
    )
    return parser


def _chosen(options: argparse.Namespace) -> list[str]:
    """The sections, in their own order. Raises CannotBegin for one that there is not."""
    known = (ENDPOINTS, *NAMES)
    wanted = options.only.split(",") if options.only else [ENDPOINTS] if options.url else known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise CannotBegin(f"no section {', '.join(unknown)}: there are {', '.join(known)}")
    if options.url and set(wanted) != {ENDPOINTS}:
        raise CannotBegin("with a URL there are endpoints alone: the sections start what they compare")
    return [name for name in known if name in wanted]


def _size(options: argparse.Namespace) -> Size:
    """As chosen, within bounds."""
    size = FULL if options.full else OF_A_URL if options.url else QUICK
    named = {name: getattr(options, name) for name in ("clients", "requests", "seconds", "rounds")}
    size = replace(size, **{name: value for name, value in named.items() if value is not None})
    return replace(
        size,
        clients=max(1, min(size.clients, MAX_CLIENTS)),
        requests=max(1, min(size.requests, MAX_REQUESTS)),
        seconds=min(size.seconds, MAX_SECONDS),
        rounds=max(1, min(size.rounds, MAX_ROUNDS)),
    )


def _measure_url(options: argparse.Namespace) -> int:
    size = _size(options)
    given = Credentials(options.username, options.password) if options.username and options.password else None
    rows, left = measure_endpoints(size, loopback(options.url), given, known_administrators())
    return _report(options, size, options.url, (rows, left), [])


def _measure_own(options: argparse.Namespace, chosen: Sequence[str]) -> int:
    size = _size(options)
    # As it is installed. Where Python writes no bytecode, each process would compile it all, in memory that it keeps.
    compileall.compile_dir(Path(__file__).with_name("app"), quiet=1)
    print("starting PostgreSQL, Valkey and what is measured on them", flush=True)
    if options.flame:
        flames.check()
        options.flame.mkdir(parents=True, exist_ok=True)
    with Bench(size, options.flame, fsync=not options.no_fsync) as bench:
        measured: tuple[list[Row], int] = ([], 0)
        if ENDPOINTS in chosen:
            account = Credentials(bench.account.username, bench.account.password)
            measured = measure_endpoints(size, loopback(bench.stack.url), account, [])
        sections = [name for name in chosen if name != ENDPOINTS]
        found = measure_all(bench, sections, lambda line: print(line, flush=True))
    return _report(options, size, "one uvicorn process of its own, no worker", measured, found)


def _report(
    options: argparse.Namespace, size: Size, server: str, measured: tuple[list[Row], int], found: Sequence[Findings]
) -> int:
    rows, left = measured
    where = machine(_command(options), size.rounds)
    if rows:
        print(f"\n{size.clients} clients; {server}\n\n{table(rows)}\n")
    if found:
        print(f"\n{tables.printed(found)}\n")
    if options.json:
        figures = {
            "server": server, "clients": size.clients, "size": size.name, "machine": where,
            "endpoints": [row.as_json() for row in rows], "sections": [findings.as_json() for findings in found],
        }  # fmt: skip
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    if options.markdown:
        for document in options.markdown:
            documents.write(document, tables.markdown(found, where))
    if options.plot:
        _draw(options.plot, rows, f"{size.clients} clients · {server}", found)
    if any(findings.errors == [WAS_STOPPED] for findings in found):
        return STOPPED
    failed = left or any(row.measured.errors for row in rows) or any(findings.errors for findings in found)
    return 1 if failed else 0


def _command(options: argparse.Namespace) -> str:
    words = [
        "python performance_test.py",
        "--full" if options.full else "",
        f"--only {options.only}" if options.only else "",
        "--no-fsync" if options.no_fsync else "",
    ]
    return " ".join(word for word in words if word)


def _draw(target: Path, rows: Sequence[Row], title: str, found: Sequence[Findings]) -> None:
    """`FILE.png` holds the endpoints, `FILE-NAME.png` beside it the rest; a directory holds `NAME.png` of each."""
    single = target.suffix.lower() == ".png"
    (target.parent if single else target).mkdir(parents=True, exist_ok=True)

    def where(name: str) -> Path:
        return target.with_name(f"{target.stem}-{name}.png") if single else target / f"{name}.png"

    if rows:
        plots.draw_endpoints(rows, target if single else where(ENDPOINTS), title)
    plots.draw(found, where)


if __name__ == "__main__":
    # It clears up then too. A shell that starts it in the background makes it ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
