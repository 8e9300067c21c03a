"""Optimal transport between intensity laws or clouds of features."""
