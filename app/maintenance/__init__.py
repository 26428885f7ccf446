"""Maintenance: starts what is due, ends what a dead worker held, adds up, and deletes what is of no use any more.

A thread in every beat and worker process; a lease row says which of them leads: a beat, or a worker while no beat
lives. Correctness does not depend on there being exactly one: each pass takes its rows with SKIP LOCKED, and every
statement is guarded.
"""
