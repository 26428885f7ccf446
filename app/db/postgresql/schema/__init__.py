"""What the tables use of PostgreSQL: triggers, and the type of a list.

Statements stand in the package above, which imports the models.
"""
