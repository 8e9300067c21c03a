"""What a synthetic CT would do to dose: surrogates from HU, and comparison of supplied doses."""
