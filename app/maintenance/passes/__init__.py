"""The passes of maintenance, those of one kind in each module. `app/maintenance/loop.py` has their order."""
