"""Regularizers of hidden features."""
