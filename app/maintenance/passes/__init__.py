"""The passes of maintenance, one duty in each module. `app/maintenance/loop.py` has their order."""
