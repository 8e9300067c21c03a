"""Turns raw scans into checked volumes; each patient is one unit."""
