#!/usr/bin/env bash
# Create or refresh a virtual environment from its lock: install.sh VENV ROLE. ROLE is predict, run,
# cluster or dev; $PYTHON is the interpreter; $TORCH is cpu or cuda. Nothing is resolved here: the
# versions are those of the lock, and every file has the SHA-256 that the lock names.
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
# setuptools first: source distributions are built with it, not with one that an index offers.
install build
install "$tag-$role"
[ "$role" = predict ] && exit

# torch: without $TORCH, the CUDA build if NVIDIA's driver is loaded, and otherwise the CPU build if
# the locks know one and the index offers it. A wrong hash stops the installation. If a constraint
# of pip names torch, pip reports a build that the index lacks as a conflict (ResolutionImpossible).
torch=${TORCH:-}
if [ -z "$torch" ] && { [ -e /proc/driver/nvidia/version ] || [ ! -f "$locks/$tag-cpu.txt" ]; }; then torch=cuda; fi
if [ -n "$torch" ]; then
    install "$tag-$torch"
elif ! output=$(install "$tag-cpu" 2>&1); then
    case $output in
    *"No matching distribution found for torch"* | *ResolutionImpossible*) install "$tag-cuda" ;;
    *)
        echo "$output" >&2
        exit 1
        ;;
    esac
fi
