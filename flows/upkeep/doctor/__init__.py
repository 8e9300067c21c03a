"""``synthct doctor``: checks of the machine, each result with a remedy."""
