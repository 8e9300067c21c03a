"""Penalties on images, for reconstruction and synthesis."""
