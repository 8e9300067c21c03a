"""``synthct doctor``: what this machine has and lacks, each finding with its remedy."""
