"""Runs docker-compose.yml on podman, where no image registry can be reached: the base images are made of Debian's packages.

What differs from Docker: the content of the base images (PostgreSQL 17, Valkey 8), and that this process runs the health
checks, which podman leaves to systemd's timers.
"""
