"""What a file of mutants says, and a mutant put into a copy of the application.

[[mutant]]
name     unique
breaks   what goes wrong, as a user or operator sees it; if code moves, the mutant is written anew by this sentence
file     where, from the project's root
old      text that stands there exactly once
new      what takes its place
tests    tests that see it, the cheapest first; those that coverage maps to its lines are tried after them
engine   whose tests they are, where it is not PostgreSQL
where    "import" or "process", where coverage cannot map the lines to tests
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
    where: str = ""

    def text(self, root: Path = ROOT) -> str:
        """The file with the break. Raises ValueError where `old` does not stand there exactly once."""
        found = (root / self.file).read_text(encoding="utf-8")
        if found.count(self.old) != 1:
            raise ValueError(f"{self.name}: `old` stands {found.count(self.old)} times in {self.file}, not once")
        return found.replace(self.old, self.new)

    def digest(self) -> str:
        """Changes with the break itself, and with the tests that are named for it."""
        return hashlib.sha256(repr((self.file, self.old, self.new, self.tests)).encode()).hexdigest()[:16]

    def lines(self) -> range:
        """Numbers of the lines that `old` takes."""
        first = 1 + (ROOT / self.file).read_text(encoding="utf-8").partition(self.old)[0].count("\n")
        return range(first, first + self.old.count("\n") + 1)


def read_mutants() -> list[Mutant]:
    return [
        Mutant(**{**table, "tests": tuple(table["tests"])})
        for path in sorted(FOLDER.glob("*.toml"))
        for table in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]
