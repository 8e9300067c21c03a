"""From a prepared scan to HU with any network runner: numpy only, shared by every stage."""
