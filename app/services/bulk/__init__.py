"""Bulk deeds: cancel, retry or delete many tasks; accepted in one transaction, done in batches by maintenance."""
