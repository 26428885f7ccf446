"""Periodic work: beat's schedule, of which each period fires once however many beats run."""
