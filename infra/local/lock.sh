#!/usr/bin/env bash
# Resolve pyproject.toml (all extras) in an empty environment and write requirements.lock.
# The local tag of torch (+cpu) is never locked: the same lock serves CPU and GPU machines.
set -euo pipefail
cd "$(dirname "$0")/../.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"${PYTHON:-python3.11}" -m venv "$fresh/venv"
constraints=()
[ -f requirements.lock ] && constraints=(-c requirements.lock)
"$fresh/venv/bin/python" -m pip install --quiet --disable-pip-version-check "${constraints[@]}" \
    'setuptools>=77' '.[train,ops,sign,dose,slurm,dev]'
{
    echo "# Written by \`make lock\` from pyproject.toml; reasons for the pins: docs/decisions/0004-pins.md"
    "$fresh/venv/bin/python" -m pip freeze --all --exclude synthct --exclude pip | sed -E 's/\+[a-z0-9.]+$//'
} > "$fresh/requirements.lock"
mv "$fresh/requirements.lock" requirements.lock
