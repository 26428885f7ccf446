"""Tasks that wait for others: how they are made, and what the end of one means for those that wait for it."""
