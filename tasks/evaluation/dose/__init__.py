"""Dosimetric effect of a synthetic CT: surrogates from HU, and comparison of supplied doses."""
