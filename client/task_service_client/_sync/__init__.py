"""The client, without an event loop: `generate.py` makes it of `_async`."""
