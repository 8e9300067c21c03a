"""How good a synthetic CT is, beside what naive methods reach and against which reference."""
