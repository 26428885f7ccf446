"""What tests with real processes stand on. Nothing here needs pytest: `performance_test.py` uses it too."""
