"""Rebalancer: a keeper for on-chain baskets that hold their target weights."""
