"""The chain of stages: the only place that knows all of them."""
