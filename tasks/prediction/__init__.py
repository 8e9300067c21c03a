"""Prediction of scans with a release: inputs, checks, networks, intervals and outputs."""
