"""When a schedule fires: cron lines, intervals, time zones, daylight saving. No database, no settings, no HTTP."""
