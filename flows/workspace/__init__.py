"""A checkout, its workspaces and what is out of date in them."""
