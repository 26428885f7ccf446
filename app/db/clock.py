"""The database's clock. It decides all times that are compared: the clocks of processes may differ by hours."""

from sqlalchemy import func

# May change from row to row of one statement, so no index serves a comparison with it.
NOW = func.clock_timestamp()
# One moment for a whole statement: for columns that must agree, and for comparisons that an index is to serve.
STATEMENT_TIME = func.statement_timestamp()
