"""Which tests a command of `run_tests.py` runs: a plugin that `tests/conftest.py` names.

--tier NAME       the tests of this tier and of those below it, as `tests/tiers.py` lists them
--suites A,B      those of these suites: folders of `tests/`, and engines other than PostgreSQL
--core            without what a change concerns that touches the schema or other engines: see `tests/tiers.py`
--only FILE       those that FILE names: a JSON list of `[suite, node id]`

Without these options pytest runs what its arguments name, but for tests marked `full`.
"""

import json
from pathlib import Path

import pytest

from tests import tiers
from tests.support import amounts, properties
from tests.support.databases import ENGINE
from tests.tiers import Tier

TESTS = Path(__file__).resolve().parents[1]
LEFT_OUT = pytest.mark.skip(reason="long: runs with --full")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long tests as well (marked `full`)")
    parser.addoption("--tier", choices=[*Tier], help="only the tests of this tier and of those below it")
    parser.addoption("--suites", help="only the tests of these suites, separated by commas")
    parser.addoption("--core", action="store_true", help="without what the schema or other engines concern alone")
    parser.addoption("--only", type=Path, help="only the tests that this JSON file names: [[suite, node id], …]")


def pytest_configure(config: pytest.Config) -> None:
    amounts.NIGHT = config.getoption("full") or config.getoption("tier") == Tier.FULL
    properties.load_profile()


def suite_of(nodeid: str, engine: str = ENGINE) -> str:
    """`nodeid` begins with `tests/`."""
    return nodeid.split("/")[1] if engine == "postgresql" else engine


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not (collection_path.name.startswith("test_") and TESTS in collection_path.parents):
        return None
    file = collection_path.relative_to(TESTS).as_posix()
    if not _is_chosen(file, config):
        return True
    only = _only(config)
    return True if only is not None and not any(nodeid.startswith(f"tests/{file}::") for nodeid in only) else None


def _is_chosen(file: str, config: pytest.Config) -> bool:
    """Whether the suites and the tier of this run have tests of the file, which is named from `tests/` on."""
    tier, suites = config.getoption("tier"), config.getoption("suites")
    if suites and suite_of(f"tests/{file}") not in suites.split(","):
        return False
    if not tier:
        return True
    core = bool(config.getoption("core"))
    return tiers.may_have_tests_of(Tier(tier), file) and tiers.runs_on(ENGINE, Tier(tier), file, core=core)


def _only(config: pytest.Config) -> set[str] | None:
    path = config.getoption("only")
    if path is None:
        return None
    return {nodeid for suite, nodeid in json.loads(path.read_text(encoding="utf-8")) if suite == suite_of(nodeid)}


def tier_of(item: pytest.Item) -> Tier:
    if item.get_closest_marker("full"):
        return Tier.FULL
    return tiers.tier_of(item.nodeid.removeprefix("tests/"), engine=ENGINE, every_engine=_is_of_every_engine(item))


def _is_of_every_engine(item: pytest.Item) -> bool:
    return item.get_closest_marker("every_engine") is not None


def _is_in(tier: str, item: pytest.Item) -> bool:
    listed, every = item.nodeid.removeprefix("tests/"), _is_of_every_engine(item)
    return tier_of(item).is_in(Tier(tier)) and tiers.is_of_engine(ENGINE, listed, every_engine=every)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tier, suites, only = config.getoption("tier"), config.getoption("suites"), _only(config)
    if tier is None and suites is None and only is None:
        for item in items:
            if item.get_closest_marker("full") and not config.getoption("full"):
                item.add_marker(LEFT_OUT)
        return
    chosen = [
        item for item in items
        if (only is None or item.nodeid in only) and (tier is None or _is_in(tier, item))
        and _is_chosen(item.nodeid.partition("::")[0].removeprefix("tests/"), config)  # pytest ignores no file that is named
    ]  # fmt: skip
    config.hook.pytest_deselected(items=[item for item in items if item not in {*chosen}])
    items[:] = chosen
