#!/usr/bin/env bash
# Write dist/sbom/*.cdx.json: a CycloneDX bill of materials of each lock that is installed at a user's. It names every
# package with version, package URL and SHA-256; the same locks make the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf dist/sbom
mkdir -p dist/sbom
for lock in locks/py*-*.txt; do
    name=$(basename "$lock" .txt)
    case $name in *-dev) continue ;; esac
    cyclonedx-py requirements "$lock" --pyproject pyproject.toml --mc-type application --output-reproducible \
        --output-format JSON --output-file "dist/sbom/synthct-$name.cdx.json" 2> dist/sbom/log ||
        { cat dist/sbom/log >&2; exit 1; }
done
rm dist/sbom/log
