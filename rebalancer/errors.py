"""The whole error tree: every expected failure the package raises, by area.

Each error prints one sentence that says what is wrong and what to do, and keeps its numbers as
attributes. `exit_code` is what the command line exits with when the error reaches it.
"""

from __future__ import annotations


class RebalancerError(Exception):
    """Root of the tree; catching it catches every expected failure and no programming mistake."""

    exit_code = 1
