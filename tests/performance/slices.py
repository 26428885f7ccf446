"""HTTP load turn by turn: each way in its slice, round after round, so that what drifts drifts for all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.performance.bench import Bench
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.flames import flame
from tests.performance.goals import ratio
from tests.performance.load import Endpoint, Measured
from tests.support.loopback import Address


@dataclass
class Way:
    """One endpoint of one server. `each` is how many things one request is, such as the tasks of a batch."""

    name: str
    address: Address
    endpoint: Endpoint
    pid: int
    each: int = 1
    requests: int | None = None
    clients: int | None = None
    flame: str = ""  # the name of its picture, if one is wanted
    rounds: list[Measured] = field(default_factory=list)
    cpu_rounds: list[dict[str, float]] = field(default_factory=list)  # seconds, by part

    @property
    def cpu(self) -> dict[str, float]:
        """CPU seconds of all rounds, by part."""
        return {part: sum(spent[part] for spent in self.cpu_rounds) for part in (self.cpu_rounds or [{}])[0]}

    def served_for(self, number: int) -> float:
        """CPU microseconds of the server and of PostgreSQL for one request of this round."""
        spent = self.cpu_rounds[number]
        return 1e6 * (spent["server"] + spent["PostgreSQL"]) / max(1, len(self.rounds[number].latencies))

    def per_second(self, number: int) -> float:
        return self.rounds[number].per_second * self.each

    def latency(self, number: int, share: float) -> float:
        return percentile(sorted(self.rounds[number].latencies), share)

    @property
    def count(self) -> int:
        return sum(len(measured.latencies) for measured in self.rounds) * self.each


def take_turns(bench: Bench, ways: Sequence[Way]) -> None:
    """A short slice to warm each up, then the rounds."""
    for way in ways:
        clients = way.clients or bench.size.clients
        bench.slice(way.address, way.endpoint, max(clients, (way.requests or bench.size.requests) // 8), clients)
    for _ in range(bench.size.rounds):
        for way in ways:
            meter = bench.meter(server=way.pid)
            way.rounds.append(bench.slice(way.address, way.endpoint, way.requests, way.clients))
            way.cpu_rounds.append(meter.read())
    for way in ways:
        if way.flame and bench.flames:
            with flame(bench.flames / f"{way.flame}.svg", way.pid):
                bench.slice(way.address, way.endpoint, way.requests, way.clients)


def rates(ours: Way, other: Way) -> list[float]:
    """How often as many a second it did as the other way, round by round."""
    return [ratio(ours.per_second(number), other.per_second(number)) for number in range(len(ours.rounds))]


def keep(findings: Findings, ways: Sequence[Way]) -> None:
    """What every section of HTTP load brings back beside its rows: rates, latencies, CPU a request, errors."""
    for way in ways:
        ordered = sorted(latency for measured in way.rounds for latency in measured.latencies)
        findings.latencies[way.name] = ordered
        findings.details[way.name] = {
            "per_second": [way.per_second(number) for number in range(len(way.rounds))],
            "milliseconds": {f"p{share * 100:g}": 1000 * percentile(ordered, share) for share in (0.5, 0.9, 0.99)},
            "cpu_microseconds_each": {name: 1e6 * value / max(1, way.count) for name, value in way.cpu.items()},
            "generator_share_of_a_core": way.cpu.get("generator", 0.0) / max(1e-9, sum(m.seconds for m in way.rounds)),
        }
        errors = sum((measured.errors for measured in way.rounds), Counter[str]())
        if errors:
            findings.errors.append(f"{way.name}: {dict(errors)}")
