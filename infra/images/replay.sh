#!/usr/bin/env bash
# Replay predict.Dockerfile without a container engine: replay.sh FOLDER [ARGUMENT...]
# In a new FOLDER, the COPY and RUN lines of the first stage are done as they stand, in a mount
# namespace with FOLDER/venv at /opt/venv. Then `synthct ARGUMENT...` runs as the image would:
# read-only, /tmp empty, FOLDER/work at /work, no network, another user, the variables of ENV alone.
# Needs root, Python 3.11 of the distribution and a wheel in dist/. What it cannot show: that the
# base image has what this machine has.
set -euo pipefail
[ $# -ge 1 ] || { echo "replay.sh FOLDER [ARGUMENT...]: a folder is needed" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd) root=$(cd "$(dirname "$0")/../.." && pwd)
shift
recipe=$(sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' "$root/infra/images/predict.Dockerfile")
mkdir -p /opt/venv /work
export folder

if [ ! -e "$folder/venv/bin/synthct" ]; then
    mkdir "$folder/build" "$folder/venv"
    first=$(sed -n '/^FROM .* AS build$/,/^FROM /p' <<< "$recipe")
    cd "$root"
    while read -r _ from to; do  # unquoted: the name of the wheel is a pattern
        for source in $from; do
            case $to in */) target=$folder/build/$to$(basename "$source") ;; *) target=$folder/build/$to ;; esac
            mkdir -p "$(dirname "$target")"
            cp -r "$source" "$target"
        done
    done < <(grep '^COPY' <<< "$first")
    commands=$(sed -n 's/^RUN //p' <<< "$first")
    export commands
    unshare --mount bash -euo pipefail -c \
        'mount --bind "$folder/venv" /opt/venv; cd "$folder/build"; PATH=/usr/bin:/bin bash -euo pipefail -c "$commands"'
    echo "built: $(find "$folder/venv" -type f | wc -l) files, $(du -sm "$folder/venv" | cut -f1) MB"
fi

mkdir -p "$folder/work"
chmod 777 "$folder/work"
variables=$(sed -n 's/^ENV //p' <<< "$recipe" | sed 's|\$PATH|/usr/bin:/bin|')
export variables
unshare --mount --net bash -euo pipefail -c '
    mount --bind "$folder/venv" /opt/venv
    mount --bind "$folder/work" /work
    mount -o remount,bind,ro /
    mount -o remount,bind,ro /opt/venv
    mount -t tmpfs tmpfs /tmp
    cd /work
    exec setpriv --reuid 10001 --regid 10001 --clear-groups env -i $variables synthct "$@"
' replay "$@"
