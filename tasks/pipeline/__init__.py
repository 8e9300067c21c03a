"""How a stage runs: its units, where they run, their cache keys, events and random streams."""
