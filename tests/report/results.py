"""The tests of a session as the report shows them: suites of cases."""

from collections.abc import Iterable, Sequence

from tests.report.model import Case, SuiteResult
from tests.report.recorded import Recorded


def suite_results(suites: Sequence[str], tests: Iterable[Recorded]) -> list[SuiteResult]:
    """One for each suite, in this order, and one more for what went wrong with the session itself.

    The seconds of a suite are those of its tests: several run at a time.
    """
    found = {name: SuiteResult(name) for name in suites}
    for test in tests:
        name = test.suite or "pytest"
        result = found.setdefault(name, SuiteResult(name))
        result.cases.append(_case(name, test))
        result.seconds += test.seconds
    for result in found.values():
        if not result.cases:
            result.note = "no test of this tier matches"
    return list(found.values())


def _case(suite: str, test: Recorded) -> Case:
    path, _, name = test.nodeid.partition("::")
    scope, _, last = name.partition("[")[0].rpartition("::")
    folder = f"tests/{suite}/" if path.startswith(f"tests/{suite}/") else "tests/"
    group = path.removeprefix(folder).removesuffix(".py").replace("/", ".")
    shown = name[len(scope) + 2 :] if scope else name
    return Case(
        suite,
        f"{group}.{scope.replace('::', '.')}" if scope else group,
        shown or last,
        test.outcome,
        test.seconds,
        test.text,
    )
