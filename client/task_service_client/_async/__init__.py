"""The client, with an event loop. `generate.py` makes `_sync` of it: change it here alone."""
