"""Column types that PostgreSQL alone has."""

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import ARRAY

# A list of strings in one column.
TextList = ARRAY(Text)
