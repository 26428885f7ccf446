"""The keeper: sends what is due, sends again what the broker lost, rescues what a dead worker held.

A thread that any worker and beat process runs; a lease row says which of them leads. Correctness does not depend on
there being exactly one: each pass takes its rows with SKIP LOCKED, and every statement is guarded.
"""
