"""What every engine spells alike: statements, conditions, and the types of what they read.

The rooms of the engines (`app/db/postgresql/`, `app/db/portable/`) build on it; it imports none of them. A module has
the name of those in the rooms that are about the same subject. Code outside of the rooms imports it directly, and takes
what differs by engine from `app.db.sql`.
"""
