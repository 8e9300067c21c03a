"""Registration by elastix."""
