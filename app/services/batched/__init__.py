"""Batched."""
