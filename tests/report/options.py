"""The options of `run_tests.py`. They are read before anything is installed, so this needs Python alone."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from tests.tiers import FURTHER, PARTS

ENGINES = ("mariadb", "mysql", "sqlite")
OF_PYTEST = ("unit", "integration", *ENGINES, "e2e", "faults", "load")
OF_SCRIPTS = ("security", "performance")
SUITES = (*OF_PYTEST, *OF_SCRIPTS)
# Many tests wait: twice as many processes as cores keep them busy.
JOBS = min(4, 2 * (os.cpu_count() or 1))


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options, with the named suites in `named`. Ends the process for --help, --list and what is wrong."""
    parser = _parser()
    options = parser.parse_args(argv)
    options.named = [*options.suites, *options.suite]
    if options.part and not options.full:
        parser.error("--part is a part of --full: python3 run_tests.py --full --part ...")
    if options.part and not is_whole(options):
        parser.error("--part runs the whole part: name it without -k and without suites")
    return options


def is_whole(options: argparse.Namespace) -> bool:
    """Return whether the full tier is run in parts: what is narrowed is no result of a part."""
    return bool(options.full and not options.named and not options.keyword)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_tests.py", description="Runs the tests against services of its own and writes reports/index.html."
    )
    parser.add_argument("suites", nargs="*", type=_suite, metavar="SUITE", help=f"only these: {', '.join(SUITES)}")
    parser.add_argument("--suite", action="append", default=[], choices=SUITES, help="the same; may be repeated")
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="only tests that match, as pytest's -k")
    parser.add_argument(
        "--full", action="store_true", help="all tests, in parts whose results are kept until the next commit"
    )
    parser.add_argument(
        "--part",
        action="append",
        default=[],
        choices=[*PARTS, *FURTHER],
        help="with --full: only this part; may be repeated",
    )
    parser.add_argument(
        "--coverage", action="store_true", help="measure coverage too: a fifth longer, on Python 3.11 more"
    )
    parser.add_argument(
        "--jobs", type=_positive, default=JOBS, metavar="N", help=f"processes for PostgreSQL's tests ({JOBS})"
    )
    parser.add_argument("--seed", type=int, help="of generated examples and random faults, to repeat a run")
    parser.add_argument("--list", action=_List, help="name suites and parts, and end")
    parser.add_argument("--install", action="store_true", help="create or update .venv, and end")
    return parser


class _List(argparse.Action):
    """Prints the names and ends the process, as `--help` does."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parts = ", ".join(f"{name} ({', '.join(suites)})" for name, suites in PARTS.items())
        further = f"further parts, which run only when they are named: {', '.join(FURTHER)}"
        sys.stdout.write(f"suites: {', '.join(SUITES)}\nparts of --full: {parts}\n{further}\n")
        parser.exit()


def _suite(name: str) -> str:
    if name not in SUITES:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(SUITES)}")
    return name


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("one process at least")
    return number
