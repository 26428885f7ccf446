"""What a file of mutants says, and a mutant put into a copy of the application.

[[mutant]]
name     unique
breaks   what goes wrong, as a user or operator sees it; if code moves, the mutant is written anew by this sentence
file     where, from the project's root
old      text that stands there exactly once
new      what takes its place
tests    tests that see it, the cheapest first
engine   whose tests they are, where it is not PostgreSQL
"""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


@dataclass(frozen=True)
class Mutant:
    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()
    engine: str = "postgresql"

    def text(self, root: Path = ROOT) -> str:
        """The file with the break. Raises ValueError where `old` does not stand there exactly once."""
        found = (root / self.file).read_text(encoding="utf-8")
        if found.count(self.old) != 1:
            raise ValueError(f"{self.name}: `old` stands {found.count(self.old)} times in {self.file}, not once")
        return found.replace(self.old, self.new)

    def digest(self) -> str:
        """Changes with the break, with the file that it is in, and with the tests that are named for it."""
        files = [self.file, *(test.partition("::")[0] for test in self.tests)]
        texts = [(ROOT / file).read_text(encoding="utf-8") for file in files]
        return hashlib.sha256(repr((self.old, self.new, self.tests, texts)).encode()).hexdigest()[:16]


def read_mutants() -> list[Mutant]:
    return [
        Mutant(**{**table, "tests": tuple(table["tests"])})
        for path in sorted(FOLDER.glob("*.toml"))
        for table in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]
