"""Local market: a chain on this machine with the contracts of other protocols, and a market tape."""
