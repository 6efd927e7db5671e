"""Searches for logs over blocks, in pieces that the endpoint takes.

Endpoints limit the blocks that one search covers (ten, on some), or the logs that it finds, and say so in words of their own. Whatever
one refuses is asked again in halves, and how many blocks it took is remembered; what is refused of a single block cannot be had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog

from rebalancer.abi import Call
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import RpcRejected

__all__ = ["LogSearch"]

log = structlog.get_logger("rebalancer.logs")

_MOST_BLOCKS = 2_000
_MOST_SEARCHES = 200
"""More than that cost an endpoint more than reading what the logs would tell."""


class LogSearch:
    """Searches that remember how many blocks the endpoint takes at once. Not to be shared by threads."""

    def __init__(self) -> None:
        self.most_blocks = _MOST_BLOCKS

    def find(
        self,
        rpc: Rpc,
        filters: Sequence[Mapping[str, Any]],
        first: int,
        last: int,
        beside: Sequence[Call] = (),
    ) -> tuple[list[Any], list[Mapping[str, Any]] | None]:
        """The answers to `beside`, and all logs of blocks `first` to `last` that pass one of the filters (as `eth_getLogs` takes them,
        without blocks), in no order.

        `beside` is asked in the same requests: what an endpoint says of its blocks there is true of its logs. The logs are None where
        the endpoint does not tell them, or its blocks changed meanwhile.

        Raises:
            RpcRejected: a call of `beside` is refused.
        """
        reported: list[Any] | None = None
        found: list[Mapping[str, Any]] = []
        waiting = [(each, *piece) for each in filters for piece in self._pieces(first, last)]
        while waiting or reported is None:
            if len(waiting) > _MOST_SEARCHES:
                log.warning("logs_too_many", searches=len(waiting), blocks=self.most_blocks)
                waiting, found, gave_up = [], [], True
            else:
                gave_up = False
            calls: list[Call] = [
                ("eth_getLogs", [{**each, "fromBlock": hex(start), "toBlock": hex(end)}])
                for each, start, end in waiting
            ]
            answers = rpc.batch_settled([*beside, *calls])
            now, answers = answers[: len(beside)], answers[len(beside) :]
            for answer in now:
                if isinstance(answer, RpcRejected):
                    raise answer
            if gave_up or (reported is not None and now != reported):
                return now, None
            reported = now
            again = []
            for (each, start, end), answer in zip(waiting, answers, strict=True):
                if not isinstance(answer, RpcRejected):
                    found += answer
                    continue
                if start == end:
                    log.warning("logs_refused", block=start, why=answer.message)
                    return reported, None
                self.most_blocks = min(self.most_blocks, (end - start + 1) // 2)
                again += [(each, *piece) for piece in self._pieces(start, end)]
            waiting = again
        return reported, found

    def _pieces(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        for start in range(first, last + 1, self.most_blocks):
            yield start, min(last, start + self.most_blocks - 1)
