"""Benchmarks: gas of the contracts, time of a tick, quality of plans, and load of many vaults.

`python -m scripts.benchmarks` measures everything. Each module measures one thing; `*_chart` modules draw what they
measured.
"""
