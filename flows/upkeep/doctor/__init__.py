"""``synthct doctor``: what this machine has and lacks, each result with its remedy."""
