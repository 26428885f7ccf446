"""What a `User-Agent` is called."""

from app.web.views.account import LONGEST_PROGRAM, browser_and_system
from tests.support.tables import check_rows

_MOZILLA = "Mozilla/5.0 "
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"


def test_a_browser_and_its_system_are_named() -> None:
    known = {
        f"{_MOZILLA}(X11; Linux x86_64) {_CHROME}": ("Chrome", "Linux"),
        f"{_MOZILLA}(Windows NT 10.0; Win64; x64) {_CHROME} Edg/142.0.0.0": ("Edge", "Windows"),
        f"{_MOZILLA}(Windows NT 10.0; Win64; x64) {_CHROME} OPR/124.0.0.0": ("Opera", "Windows"),
        f"{_MOZILLA}(Linux; Android 10; K) {_CHROME}": ("Chrome", "Android"),
        f"{_MOZILLA}(Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0": ("Firefox", "macOS"),
        f"{_MOZILLA}(Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/26.0 Safari/605.1.15": ("Safari", "macOS"),
        f"{_MOZILLA}(iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 CriOS/142.0 Safari/604.1": ("Chrome", "iOS"),
        "curl/8.14.1": ("curl/8.14.1", ""),
        "python-httpx/0.28.1 (a script)": ("python-httpx/0.28.1", ""),
        "x" * 300: ("x" * LONGEST_PROGRAM, ""),
        "": ("", ""),
        None: ("", ""),
    }  # fmt: skip
    check_rows(lambda agent, names: browser_and_system(agent) == names, known.items())
