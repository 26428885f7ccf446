"""What the fault tests break things with, and the checker of what must hold all the same."""
