"""What the tables have on PostgreSQL beside columns and indexes.

What stands here, and why:

    types       arrays
    triggers    all DDL that goes with a table
    guard       the trigger that guards the state machine: the rules of all engines, in plpgsql
    holds       the trigger that lets no task of a paused queue begin: FOR KEY SHARE, snapshots in functions
    limits      the trigger by which a claim takes the place of a task with a limit
    waiting     why a task waits: statement_timestamp()
    counts      the triggers that count ended tasks and their bytes
    outbox      the triggers that tell what became of tasks with followers
    audit       the trigger and privileges that keep the audit append-only
"""
