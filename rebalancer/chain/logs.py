"""Log searches over block ranges, split to the limits of the endpoint.

Endpoints limit the number of blocks that one search covers (some to ten), or the number of logs it returns, each with
its own message. A rejected search is split in halves, and the accepted number of blocks is remembered. If a search of a
single block is rejected, the logs are unavailable.
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
"""Limit on searches. More of them cost an endpoint more than a full read of the state."""


class LogSearch:
    """Log searches that remember the endpoint's block limit. Not thread-safe."""

    def __init__(self) -> None:
        self.most_blocks = _MOST_BLOCKS

    def find(
        self, rpc: Rpc, filters: Sequence[Mapping[str, Any]], first: int, last: int, alongside: Sequence[Call] = ()
    ) -> tuple[list[Any], list[Mapping[str, Any]] | None]:
        """Answers to the calls in `alongside`, and all logs of blocks `first` to `last` that match one of the filters,
        in no order.

        Filters are those of `eth_getLogs` without blocks. The calls are sent in the same requests as the searches: what
        they say about the endpoint's blocks also holds for its logs. The logs are None if the endpoint does not return
        them, or if its answers to the calls changed meanwhile.

        Raises:
            RpcRejected: a call in `alongside` was rejected.
        """
        first_answers: list[Any] | None = None
        found: list[Mapping[str, Any]] = []
        waiting = [(each, *piece) for each in filters for piece in self._pieces(first, last)]
        while waiting or first_answers is None:
            if len(waiting) > _MOST_SEARCHES:
                log.warning("logs_too_many", searches=len(waiting), blocks=self.most_blocks)
                waiting, found, gave_up = [], [], True
            else:
                gave_up = False
            calls: list[Call] = [
                ("eth_getLogs", [{**each, "fromBlock": hex(start), "toBlock": hex(end)}])
                for each, start, end in waiting
            ]
            answers = rpc.batch_settled([*alongside, *calls])
            now, answers = answers[: len(alongside)], answers[len(alongside) :]
            for answer in now:
                if isinstance(answer, RpcRejected):
                    raise answer
            if gave_up or (first_answers is not None and now != first_answers):
                return now, None
            first_answers = now
            again = []
            for (each, start, end), answer in zip(waiting, answers, strict=True):
                if not isinstance(answer, RpcRejected):
                    found += answer
                    continue
                if start == end:
                    log.warning("logs_refused", block=start, why=answer.message)
                    return first_answers, None
                self.most_blocks = min(self.most_blocks, (end - start + 1) // 2)
                again += [(each, *piece) for piece in self._pieces(start, end)]
            waiting = again
        return first_answers, found

    def _pieces(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        for start in range(first, last + 1, self.most_blocks):
            yield start, min(last, start + self.most_blocks - 1)
