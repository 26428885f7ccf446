"""In the place of PostgreSQL's prepared statements: connections whose statements are transactions of their own."""

from app.db.statements.executing import OwnConnection, own_connection

PreparedConnection = OwnConnection
prepared_connection = own_connection
