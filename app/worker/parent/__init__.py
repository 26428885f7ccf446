"""Parent."""
