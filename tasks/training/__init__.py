"""One network per task and fold, with pluggable networks, losses and regularizers."""
