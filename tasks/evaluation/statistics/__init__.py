"""Intervals, significance and rankings over patients."""
