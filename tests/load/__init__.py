"""One greedy client against one modest client: what the greedy one can take, and what the modest one feels.

Each file is about one resource. A test gives the greedy client a behaviour, an `async def` at module level, and the
modest client one request that it repeats at a steady pace:

    async def floods(side: Side) -> None:           # runs in a process of its own until it is stopped
        ...
        side.count("429")                           # what the test may assert afterwards

    def test_flood(duel: Duel) -> None:
        seen = duel.compare(floods, duel.modest_get())
        assert seen.taken["429"] > 0
        assert seen.ratio <= 3

`Comparison.ratio` is the modest client's 99th percentile beside the greedy client divided by the one without it. Both
are measured by turns in one run, so that the speed of the machine cancels out; the median of the rounds counts. The
greedy process has the lowest scheduling priority: it takes what the server gives it, not the modest client's processor.
`Comparison.peak_mib` is the most memory that the API process had beside the greedy client.

The suite runs alone and in one process: `pytest tests/load`; with `--full` more cases.
"""
