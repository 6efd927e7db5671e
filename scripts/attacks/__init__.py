"""Attacks on a vault with the real contracts, pools and tokens on a local Anvil, each by an attacker who looks for its best.

`field` is where they happen and how they are counted, `search` how an attacker finds its best; every other module holds attacks
of one kind. `scripts/attacks.py` plays them all.
"""
