"""``synthct serve``: scheduled runs, their pages and their metrics, on loopback."""
