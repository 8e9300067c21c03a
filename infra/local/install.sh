#!/usr/bin/env bash
# Make or refresh a virtual environment from its lock: install.sh VENV ROLE, a role of locks/ (predict, run, cluster,
# dev); $PYTHON is the interpreter. Nothing is resolved here: what is installed is what the lock names, and every file
# has the SHA-256 that the lock gives it. $TORCH: cpu or cuda.
set -euo pipefail
[ $# -eq 2 ] || { echo "install.sh VENV ROLE: two arguments are needed, got $#" >&2; exit 2; }
venv=$1 role=$2 python=${PYTHON:-python3}
locks=$(cd "$(dirname "$0")/../../locks" && pwd)

# py311 for Python 3.11
tag() { "$1" -c 'import sys; print("py%d%d" % sys.version_info[:2])'; }
tag=$(tag "$python") || { echo "$python does not run: set PYTHON to Python 3.11 to 3.14" >&2; exit 2; }
if [ ! -f "$locks/$tag-$role.txt" ]; then
    echo "there is no lock for role $role on $("$python" --version) ($python): locks/ has" \
        "$(cd "$locks" && echo py*-*.txt); set PYTHON to one of these" >&2
    exit 2
fi
# An environment with files of two Pythons hides errors: start from an empty one.
clear=()
if [ -e "$venv/bin/python" ] && [ "$(tag "$venv/bin/python" || true)" != "$tag" ]; then clear=(--clear); fi
"$python" -m venv "${clear[@]}" "$venv"

install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --no-build-isolation --use-pep517 -r "$locks/$1.txt"
}
install build # setuptools first: what comes as source is built with it, not with whatever an index offers
install "$tag-$role"
[ "$role" = predict ] && exit

# torch: $TORCH says cpu or cuda. Otherwise CUDA where NVIDIA's driver is, and elsewhere what the index offers: the
# CPU build where it is known and to be had. A wrong hash is no reason to take the other one. Where a constraint of pip
# names torch, pip calls a build that the index lacks a conflict.
torch=${TORCH:-}
if [ -z "$torch" ] && { [ -e /proc/driver/nvidia/version ] || [ ! -f "$locks/$tag-cpu.txt" ]; }; then torch=cuda; fi
if [ -n "$torch" ]; then
    install "$tag-$torch"
elif ! said=$(install "$tag-cpu" 2>&1); then
    case $said in
    *"No matching distribution found for torch"* | *ResolutionImpossible*) install "$tag-cuda" ;;
    *)
        echo "$said" >&2
        exit 1
        ;;
    esac
fi
