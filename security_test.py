#!/usr/bin/env python3
"""Probes a running server of this machine from outside: `python security_test.py http://127.0.0.1:8000`.

XSS, CSRF, injection, authentication, authorisation, limits, error hygiene, of the API and of the pages at `/ui/`: named
checks, grouped by OWASP API Security category, each in `tests/security/`. An administrator makes two accounts for it,
and deletes them at the end with all that is theirs, after Ctrl-C too: the one that is given, else that of
FIRST_ADMIN_USERNAME and FIRST_ADMIN_PASSWORD in the environment, in .env or from run_server.py. Where none is known the
accounts are registered; their tasks, keys and logins are removed, and a line names the accounts, which stay. The last
check runs into the login throttle on purpose: for a while this address may be slowed down. Exit code 0 when all checks
pass, 1 when one fails, 2 when it could not begin, 130 after Ctrl-C. Only loopback addresses are probed.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

import tests.security  # noqa: F401 (registers the checks)
from tests.security.registry import Result, run_checks
from tests.security.target import Target, prepare
from tests.support.loopback import CannotBegin, loopback

CANNOT, STOPPED = 2, 130
MARKS = {"passed": "ok", "failed": "FAIL"}


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    try:
        with prepare(loopback(options.url), options.username, options.password) as target:
            results = _run(target)
    except (CannotBegin, httpx.HTTPError) as error:
        sys.stderr.write(f"error: {error}\n")
        return CANNOT
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return STOPPED
    if options.json:
        document = {"url": target.address.url, "checks": [result.as_json() for result in results]}
        options.json.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return 1 if any(result.outcome == "failed" for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of a running server on this machine, such as http://127.0.0.1:8000")
    parser.add_argument(
        "--username", default=os.environ.get("TEST_USERNAME"), help="an administrator's, or TEST_USERNAME"
    )
    parser.add_argument("--password", default=os.environ.get("TEST_PASSWORD"), help="or TEST_PASSWORD")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    return parser


def _run(target: Target) -> list[Result]:
    """Each result as it comes, under the heading of its group."""
    results: list[Result] = []
    for result in run_checks(target):
        if not results or results[-1].group != result.group:
            print(f"\n{result.group}")
        print(f"  {MARKS[result.outcome]:<5} {result.name}{f' — {result.detail}' if result.detail else ''}", flush=True)
        results.append(result)
    counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in MARKS}
    print(f"\n{len(results)} checks: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    return results


if __name__ == "__main__":
    # It clears up then too. A shell that starts it in the background makes it ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
