"""`<data-dir>/env` means the same to a shell and to python-dotenv."""

import stat
import subprocess
from pathlib import Path

import pytest

from app.launcher.environment import quoted_value, read_env, write_env
from tests.support.amounts import amount
from tests.support.properties import HealthCheck, given, settings, st

AWKWARD = [
    "plain", "postgresql://u:p@127.0.0.1:5432/db?x=1", "two words", "it's", 'say "hi"', "$HOME", "`id`", "$(id)", "a#b",
    " # no comment", "back\\slash", "it's a \\ slash", "~root", "a=b", "x;y&z|w", "*", "!history", "line\nbreak",
    "tab\there", "ünïcödé 任务", "a\\'b", "it's \\\\ twice",
]  # fmt: skip


def in_a_shell(path: Path) -> dict[str, str]:
    command = ["sh", "-c", 'set -a; . "$1"; exec env -0', "sh", path]
    done = subprocess.run(command, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    return dict(each.split("=", 1) for each in done.stdout.decode().split("\0") if each)


def check(tmp_path, values):
    """Both read each value as it was, or it is left out of the file."""
    path = tmp_path / "env"
    named = {f"V{number}": value for number, value in enumerate(values)}
    write_env(path, named, "heading")
    expected = {name: value for name, value in named.items() if quoted_value(value) is not None}
    shell = in_a_shell(path)
    assert read_env(path) == expected
    assert {name: shell[name] for name in named if name in shell} == expected


def test_awkward_values_mean_the_same_to_both(tmp_path):
    check(tmp_path, AWKWARD)


@settings(
    max_examples=amount(day=10, night=40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, max_size=20)
)
def test_any_values_mean_the_same_to_both(tmp_path, values):
    check(tmp_path, values)


def test_generated_secrets_and_urls_need_no_quotes():
    assert quoted_value("redis://:0af3@127.0.0.1:41000/0") == "redis://:0af3@127.0.0.1:41000/0"


@pytest.mark.parametrize("value", ["${HOME}", "it's $5", "ends in \\ and has a '\\"])
def test_what_the_two_would_read_differently_is_refused(value):
    assert quoted_value(value) is None


def test_the_file_is_private_even_where_an_open_one_stood(tmp_path):
    path = tmp_path / "env"
    path.write_text("OLD=1\n")
    path.chmod(0o644)
    write_env(path, {"NEW": "1"}, "heading")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_env(path) == {"NEW": "1"}


def test_a_name_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not the name of a variable"):
        write_env(tmp_path / "env", {"A B": "1"}, "heading")


def test_a_missing_file_holds_nothing(tmp_path):
    assert read_env(tmp_path / "none") == {}
