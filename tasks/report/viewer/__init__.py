"""One case or any scans on one grid, as a page to look through: planes, windows, difference."""
