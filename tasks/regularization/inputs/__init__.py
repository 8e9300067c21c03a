"""Regularizers that change the inputs of a step."""
