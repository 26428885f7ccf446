"""What every engine spells alike: statements, conditions, and the types of what they read.

`app/db/postgresql/` and `app/db/statements/` build on it. Its modules go into `app/db/statements/` one by one.
"""
