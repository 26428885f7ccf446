"""From a committed row to a message: what is due, and the sending of it.

A message is a hint: it names a task and its generation and carries no arguments. Losing one costs seconds (the keeper
sends it again), doubling one costs an UPDATE that matches no row.
"""
