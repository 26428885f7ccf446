# sealed.sh NEW_ROOT DATA APP_ROOT VENV PYTHON UID COMMAND...
# Runs the command as in the image, where there is no Docker: NEW_ROOT becomes a root of read-only mounts with the code in
# /srv, and only /tmp (empty) and /data can be written; the user is UID and has no capability. To be started in a mount
# namespace of its own, as its root; UID 0 there is a plain user outside, who cannot become another.
set -eu
PATH=$PATH:/usr/sbin:/sbin
root=$1 data=$2 source=$3 venv=$4 python=$5 uid=$6
shift 6

read_only() { # read_only WHAT WHERE
    if [ -d "$1" ]; then mkdir -p "$2"; else mkdir -p "${2%/*}" && touch "$2"; fi
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
}

umask 022
mount -t tmpfs -o mode=755 sealed "$root"
for each in /usr /etc; do read_only "$each" "$root$each"; done
for each in /bin /sbin /lib /lib64; do
    if [ -L "$each" ]; then cp -d "$each" "$root$each"; elif [ -d "$each" ]; then read_only "$each" "$root$each"; fi
done
mkdir "$root/proc" "$root/dev" "$root/tmp" "$root/data"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 sealed "$root/tmp"
# After /tmp, below which a checkout with its environment may lie.
for each in "$venv" "$python"; do
    case $each in /usr | /usr/*) ;; *) read_only "$each" "$root$each" ;; esac
done
for each in app alembic.ini; do read_only "$source/$each" "$root/srv/$each"; done
mount --bind "$data" "$root/data"
mount -o remount,ro "$root"

become=""
if [ "$uid" != 0 ]; then become="--reuid $uid --regid $uid --clear-groups"; fi
# shellcheck disable=SC2086 # several words are meant
exec chroot "$root" setpriv $become --bounding-set=-all --inh-caps=-all --no-new-privs \
    sh -c 'cd /srv && exec "$@"' sealed "$@"
