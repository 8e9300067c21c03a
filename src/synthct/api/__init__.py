"""Implementation of the public API. Import its names from ``synthct``, not from here."""
