"""Schedules: their requests, what becomes of their times, and backfills."""
