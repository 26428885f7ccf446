"""What parent and pool children both use: the memory that they share, and how they write to the database."""
