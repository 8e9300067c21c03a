"""Stored volumes, object storage and the cache of results."""
