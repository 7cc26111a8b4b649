# PostgreSQL as Debian has it, with its files in a volume. Whoever is in the network is let in.
export PGDATA=/var/lib/postgresql/data PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --auth trust
    echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
fi
exec postgres -k /tmp -h '*'
