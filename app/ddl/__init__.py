"""What the models are made of on each engine: column types, indexes, triggers, the clock. It imports no model."""
