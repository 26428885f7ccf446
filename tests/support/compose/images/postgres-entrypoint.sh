#!/bin/sh
# The first start makes the cluster and runs the scripts on a server that listens on its socket alone, as the official
# image does.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    umask 077
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    # shellcheck disable=SC2086 # several words are meant
    initdb --pgdata="$PGDATA" --username=postgres --pwfile=/tmp/password ${POSTGRES_INITDB_ARGS-}
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA" --options="-c listen_addresses=" --wait start
    for script in /docker-entrypoint-initdb.d/*.sql; do
        if [ -e "$script" ]; then psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -f "$script"; fi
    done
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
fi

exec "$@" -c listen_addresses='*'
