"""Kinds of cluster behind ``--cluster``: one file a kind, each starts workers and ends them."""
