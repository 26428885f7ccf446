"""What `run_tests.py` does: runs the suites, gathers what they left in files, draws one page of it."""
