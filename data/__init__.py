"""Scans, their file formats and their storage; no science, no orchestration."""
