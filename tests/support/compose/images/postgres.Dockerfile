# As much of the official image as docker-compose.yml uses, of PostgreSQL 17.
FROM localhost/debian
RUN apt-get update \
    && apt-get -o APT::Sandbox::User=root install -y --no-install-recommends postgresql-17 \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
RUN install -d -o postgres /var/lib/postgresql/18 \
    && install -d -o postgres -m 3777 /var/run/postgresql \
    && mkdir /docker-entrypoint-initdb.d
COPY --chmod=755 postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
