"""Whether a registration can be believed."""
