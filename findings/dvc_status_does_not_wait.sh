#!/usr/bin/env bash
# `dvc --wait-for-lock status` does not wait for a stage that `dvc repro` is running.
#
# Version: DVC 3.67.1.
# Expected: with --wait-for-lock every command waits until the other DVC has finished.
# Behaviour: the option covers .dvc/tmp/lock only. `dvc repro` releases that lock while a stage
#   runs and holds entries of .dvc/tmp/rwlock instead; `status` then fails at once and says that the
#   stage's output is busy.
# For us: `synthct run` beside `dvc repro` waits by itself (tests/flows/chaos/test_dvc_lock.py).
set -euo pipefail
folder=$(mktemp -d)
repro=
trap '[ -z "$repro" ] || kill "$repro" 2> /dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$folder/venv/bin:$PATH" DVC_NO_ANALYTICS=1
mkdir "$folder/work" && cd "$folder/work"
dvc init --quiet --no-scm
printf 'stages:\n  slow:\n    cmd: touch started && sleep 30 && touch out\n    outs: [out]\n' > dvc.yaml
dvc repro --quiet & repro=$!
for _ in $(seq 100); do [ -e started ] && break; sleep 0.2; done
[ -e started ]
began=$SECONDS
if dvc --wait-for-lock status > said.txt 2>&1; then
    echo "status waited or answered: this has changed"; cat said.txt; exit 1
fi
took=$((SECONDS - began))
cat said.txt
echo "failed after $took s, while the stage sleeps 30 s"
grep -q "busy" said.txt
[ "$took" -lt 20 ]
