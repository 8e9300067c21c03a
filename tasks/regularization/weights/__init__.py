"""Penalties on the weights of layers."""
