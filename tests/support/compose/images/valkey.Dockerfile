# As much of the official image as docker-compose.yml uses, of Valkey 8.
FROM localhost/debian
RUN apt-get update \
    && apt-get -o APT::Sandbox::User=root install -y --no-install-recommends valkey-server valkey-tools \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o valkey /data
WORKDIR /data
VOLUME /data
CMD ["valkey-server"]
