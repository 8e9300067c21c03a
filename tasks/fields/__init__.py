"""Mathematics on displacement fields and grids: derivatives, elasticity, Jacobian, warping."""
