"""Upkeep of a checkout: pruning and `synthct doctor`."""
