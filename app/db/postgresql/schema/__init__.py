"""What the tables use of PostgreSQL: column types, defaults, indexes, triggers, and its clock.

Models and migrations take these by neutral names. Statements stand in the package above, which imports the models.
"""
