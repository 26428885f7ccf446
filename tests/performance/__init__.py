"""What `performance_test.py` measures with; the command itself stands at the top level."""
