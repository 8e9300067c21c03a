"""What ``import synthct`` offers and the command line is made of; names are taken from there."""
