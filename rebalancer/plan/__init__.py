"""What to trade, by which route, and what it costs. Pure: pools and prices in, a plan out."""
