"""Which browser on which system a `User-Agent` names: two words for its reader, and no decision hangs on them."""

# The first that occurs names it: Edge and Opera name Chrome as well, and Chrome names Safari.
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser/", "Samsung Internet"), ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iPadOS"), ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip
LONGEST = 40


def named(user_agent: str | None) -> tuple[str, str]:
    """Return the browser and the system. Of another program its first word, such as `curl/8.14.1`, and no system."""
    agent = user_agent or ""
    browser = next((name for part, name in _BROWSERS if part in agent), "")
    if not browser:
        return agent.partition(" ")[0][:LONGEST], ""
    return browser, next((name for part, name in _SYSTEMS if part in agent), "")
