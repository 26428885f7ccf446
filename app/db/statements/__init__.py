"""Statements in portable SQLAlchemy Core: every engine executes them, PostgreSQL where it has none of its own.

A module of the same name in `app/db/postgresql/` has the same functions in statements that only PostgreSQL has.
`app.db.sql` gives that one there, and the module of this package on all other engines. What takes PostgreSQL one
statement takes several here, in one transaction and with row locks: SELECT … FOR UPDATE (SKIP LOCKED where others may
go on), then UPDATE, INSERT or DELETE by the ids that are locked. No RETURNING, no LATERAL, no arrays.

What they are built with:

    writes        INSERT … ON CONFLICT (SQLite), ON DUPLICATE KEY UPDATE (MySQL); the order of assignments, since MySQL
                  sees the new values of the columns before
    batches       a bounded number of rows to delete or take, also of tables without a key
    reads         conditions, distinct values, bounded reads
    expressions   functions whose names differ: greatest(), least(), a hash, a JSON list's member
    tables        the tables of the models, for statements that read and write rows without the ORM

Who begins and commits the transaction of several statements says `app/db/transactions.py`; deadlocks are tried again.

On SQLite a transaction that locks or writes has the whole database to itself (`app/db/connections/sqlite.py`), and FOR
UPDATE is left out of the text. On MySQL transactions read what is committed (READ COMMITTED), as on PostgreSQL.
"""
