"""Models: networks, their description, normalisation, sliding window and contracts."""
