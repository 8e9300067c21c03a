"""Scores of anatomical structures."""
