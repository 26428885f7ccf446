"""The one clock: times that processes compare are read from the database, never from a machine.

NOW is the moment of evaluation. STATEMENT_TIME is one moment for the whole statement: use it for columns that must
agree and for comparisons that an index should serve. `seconds` makes an interval of a number.
"""

from app.db.postgresql.schema.clock import NOW, STATEMENT_TIME, seconds

__all__ = ["NOW", "STATEMENT_TIME", "seconds"]
