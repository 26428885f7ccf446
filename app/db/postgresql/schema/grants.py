"""Privileges of a table that a migration adds, while older processes run as a role that does not own it."""


def like(table: str, new: str) -> str:
    """SQL that lets every role which may update `table` read and change the table `new`.

    The service's own role is one of them: a trigger on `table` writes `new` with that role's privileges, from the first
    statement after the migration on.
    """
    return f"""
DO $$
DECLARE grantee text;
BEGIN
    FOR grantee IN
        SELECT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
        FROM pg_class AS c, aclexplode(c.relacl) AS acl
        WHERE c.oid = '{table}'::regclass AND acl.privilege_type = 'UPDATE' AND acl.grantee <> c.relowner
    LOOP
        EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON {new} TO ' || grantee;
    END LOOP;
END
$$
"""  # noqa: S608 (constants)  # nosec B608
