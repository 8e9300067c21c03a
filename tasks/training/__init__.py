"""One network per source and fold, with pluggable networks, losses and regularizers."""
