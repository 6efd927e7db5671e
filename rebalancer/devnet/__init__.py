"""A local market: a chain on this machine, the outside world's contracts on it, and a tape."""
