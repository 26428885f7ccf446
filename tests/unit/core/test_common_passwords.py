"""What is refused as too easy to guess, and when the lists are loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.core.common_passwords import is_common, is_one_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "PassWord",
        "12345678",
        "password1",
        "qwertyuiop",
        "iloveyou",
        "elizabeth",
        "strawberry",
        "ｐａｓｓｗｏｒｄ",
        "changeme ",
    ],
)
def test_what_attackers_try_first_is_common(password: str) -> None:
    assert is_common(password)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "a-good-password",
        "密码密码密码密码",
        " " * 8,
        "x" * 1024,
        "\U0001f600" * 1024,
        "pass\x00word",
        "password password",
        "password\nfootball",
    ],
)
def test_others_are_not(password: str) -> None:
    assert not is_common(password)


@pytest.mark.parametrize(
    "password", ["anna.smith", "ANNA.SMITH", "A.Smith.42@Example.com", " anna.smith", "a.smith.42"]
)
def test_ones_own_name_and_address_are_known(password: str) -> None:
    assert is_one_of(password, ("Anna.Smith", "a.smith.42@example.com"))


def test_a_password_that_holds_the_name_is_another_thing() -> None:
    assert not is_one_of("anna.smith rides a horse", ("anna.smith", "anna.smith@example.com"))


def still_loaded(after: str) -> bool:
    """Whether a process that has done that holds a module of the lists."""
    program = f"import sys; {after}; print(any(n.startswith('zxcvbn') or n == 'frequency_lists' for n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout != "False\n"


def test_neither_the_api_nor_a_worker_loads_the_lists_at_its_start() -> None:
    """They cost a tenth of a second and some megabytes, which only who sets a password needs."""
    assert not still_loaded("import app.main, app.celery_app, app.services.user_service, app.tasks.common_tasks")


def test_what_the_lists_were_loaded_from_is_not_kept() -> None:
    """Ten megabytes more, in every process in which somebody ever set a password."""
    assert not still_loaded("from app.core.common_passwords import is_common; assert is_common('password')")
