"""What files and artifacts need beside their rows."""
