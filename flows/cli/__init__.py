"""The commands of ``synthct``, by what they are about."""
