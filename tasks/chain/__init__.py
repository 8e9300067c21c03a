"""The chain of stages: the only package that imports all of them."""
