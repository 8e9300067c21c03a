"""Uncertainty of a synthetic CT without a reference: intervals, their coverage, likeness."""
