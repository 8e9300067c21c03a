"""Regularizers against wrong, few or missing targets."""
