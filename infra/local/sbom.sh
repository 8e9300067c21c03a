#!/usr/bin/env bash
# Write dist/sbom/*.cdx.json: a CycloneDX bill of materials of each lock that users install. It
# names every package with version, package URL and SHA-256. The same locks give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf dist/sbom
mkdir -p dist/sbom
bill() {
    cyclonedx-py requirements "$1" --pyproject pyproject.toml --mc-type application --output-reproducible \
        --output-format JSON --output-file "dist/sbom/synthct-$(basename "$1" .txt).cdx.json"
}
export -f bill
find locks -name 'py*.txt' ! -name '*-dev.txt' -print0 | xargs -0 -P "$(nproc)" -I LOCK \
    bash -c 'output=$(bill LOCK 2>&1) || { echo "$output" >&2; exit 1; }'
