"""Attacks on a vault with the real contracts, pools and tokens on a local Anvil.

Each attacker searches for its best parameters. `field` is the environment and counts gain and loss, `search` finds the
best parameters, and every other module holds attacks of one kind. `python -m scripts.attacks` runs them all.
"""
