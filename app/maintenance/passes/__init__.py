"""The passes of maintenance, one duty in each module. `app/maintenance/registry.py` has their order."""
