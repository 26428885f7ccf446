"""The storage of contents."""
