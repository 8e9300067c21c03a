#!/usr/bin/env bash
# Create .venv-peers: third-party registration, projectors, loaders and metrics, to which benchmarks
# compare synthct. They need other versions of packages (convexadam requires stock SimpleITK), hence
# a separate environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
fresh=.venv-peers.new
rm -rf "$fresh"
"${PYTHON:-python3.11}" -m venv "$fresh"
"$fresh/bin/python" -m pip install --quiet --disable-pip-version-check \
    convexadam==0.2.0 torch==2.13.0 numpy==2.4.6 SimpleITK==2.5.7 nibabel==5.4.2 scikit-learn==1.9.1 \
    itk-rtk==2.7.0.post1 torchio==1.2.1 torchmetrics==1.9.0
rm -rf .venv-peers
mv "$fresh" .venv-peers
