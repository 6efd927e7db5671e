"""Keepers that are broken on purpose: `mutants.py NAME …` is `rebalancer …` with one mistake.

The arena must find every one of them, or it proves nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rebalancer.chain.rpc import Rpc
from rebalancer.cli.main import main
from rebalancer.keeper.inflight import InFlight
from rebalancer.send.attempt import Attempt
from rebalancer.send.journal import Journal
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import SenderAccount


def sends_twice() -> None:
    """Every transaction is signed for the next nonce as well, and both are sent."""
    sign = SenderAccount.sign

    def both(self: SenderAccount, transaction: Any) -> Any:
        again = sign(self, transaction | {"nonce": transaction["nonce"] + 1})
        _AFTERWARDS.append("0x" + again.raw.hex())
        return sign(self, transaction)

    SenderAccount.sign = both  # type: ignore[method-assign] # another in its place is the point
    _send_afterwards()


_AFTERWARDS: list[str] = []


def _send_afterwards() -> None:
    call = Rpc.call

    def more(self: Rpc, method: str, *params: Any) -> Any:
        answer = call(self, method, *params)
        if method == "eth_sendRawTransaction":
            while _AFTERWARDS:
                call(self, method, _AFTERWARDS.pop())
        return answer

    Rpc.call = more  # type: ignore[method-assign] # another in its place is the point


def forgets() -> None:
    """Nothing of what is signed is journalled under the hash that it is sent with."""
    add = Journal.add_version

    def otherwise(self: Journal, *args: Any, **more: Any) -> Attempt:
        attempt = add(self, *args, **more)
        self.connection.execute("UPDATE versions SET transaction_hash = ?", ("0x" + "ab" * 32,))
        return attempt

    Journal.add_version = otherwise  # type: ignore[method-assign] # another in its place is the point


def tells() -> None:
    """It says where its endpoint is, path and all."""
    start = Outbox.__init__

    def aloud(self: Outbox, *args: Any, **more: Any) -> None:
        start(self, *args, **more)
        with open(sys.argv[sys.argv.index("--config") + 1]) as settings:  # noqa: PTH123 (one line)
            print(settings.readline(), file=sys.stderr)

    Outbox.__init__ = aloud  # type: ignore[method-assign] # another in its place is the point


def gives_up() -> None:
    """It ends at its first look."""

    def end(self: Outbox, *args: Any, **more: Any) -> Any:
        sys.exit(70)

    Outbox.advance = end  # type: ignore[method-assign] # another in its place is the point


def sleeps() -> None:
    """It takes every vault for one that it has just sent something for."""
    InFlight.vaults = lambda self: frozenset(self._context.vaults)  # type: ignore[method-assign] # another in its place is the point


MUTANTS: dict[str, Callable[[], None]] = {
    made.__name__: made for made in (sends_twice, forgets, tells, gives_up, sleeps)
}

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    main()
