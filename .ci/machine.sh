# shellcheck shell=bash
# Sourced by .ci/run and .ci/nightly: what a clean Debian needs for the tests. Each function fetches only what is missing.

usable() { # whether this Python is new enough and can create virtual environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if usable "$name"; then
            echo "$name"
            return
        fi
    done
    return 1
}

# A public CI runs this as a user who may use sudo.
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)

apt_install() {
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_python() { # sets `python`
    if ! python="$(find_python)"; then
        echo "installing python3 and python3-venv"
        apt_install python3 python3-venv
        python="$(find_python)"
    fi
}

# Without these packages their tests are skipped and say why; where CI is set those of MariaDB fail.
may_need() { # WHAT PACKAGE...
    local what="$1"
    shift
    if { [ "$(id -u)" -eq 0 ] || [ -n "${CI:-}" ]; } && command -v apt-get >/dev/null && ! dpkg --status "$@" >/dev/null 2>&1; then
        echo "installing $*"
        apt_install "$@" || echo "not all could be installed: $what"
    fi
}

need_mysql() { # Debian has no package of it; .ci/mysql unpacks Ubuntu's beside the system
    if command -v apt-get >/dev/null && { ! command -v mysqld >/dev/null || mysqld --version | grep -q MariaDB; }; then
        mysql="$(mktemp -d)"
        trap 'rm -rf "$mysql"' EXIT
        echo "unpacking MySQL"
        if timeout 180 .ci/mysql "$mysql"; then
            PATH="$mysql/bin:$PATH"
        else
            echo "it could not be unpacked: nothing is tried on MySQL here"
        fi
    fi
}
