"""Registration gate: acceptance of a registration by quality measures."""
