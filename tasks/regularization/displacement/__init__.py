"""Penalties on displacement fields."""
