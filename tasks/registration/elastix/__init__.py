"""Registration with elastix."""
