"""Regularizers that act on the gradient of the objective."""
