"""The only door out: whatever the package sends to a chain, it sends through these modules."""
