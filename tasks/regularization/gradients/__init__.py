"""Regularizers that act through the gradient of a step."""
