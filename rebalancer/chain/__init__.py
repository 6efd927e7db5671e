"""The only door in: what the package reads from a chain, it reads through these modules."""
