"""What a network is to the rest: description, normalisation, sliding window, contracts."""
