"""The whole error tree: every expected failure the package raises, by area.

Each error prints one sentence that says what is wrong and what to do, and keeps its numbers as
attributes. `exit_code` is what the command line exits with when the error reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class RebalancerError(Exception):
    """Root of the tree; catching it catches every expected failure and no programming mistake."""

    exit_code = 1


# --- chain: JSON-RPC, contracts, addresses -----------------------------------------------------


class ChainError(RebalancerError):
    """Something between this program and the chain went wrong."""

    exit_code = 10


class RpcUnreachable(ChainError):
    """No usable answer came from the endpoint: refused, reset, unresolvable, or an HTTP error."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(
            f"The RPC endpoint {endpoint} cannot be reached ({reason}): "
            "check that the node runs and that the address is right."
        )


class RpcTimeout(ChainError):
    """The endpoint took longer than allowed to answer."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        super().__init__(
            f"The RPC endpoint {endpoint} did not answer within {timeout_s:g} s: "
            "try again, allow more time, or use another endpoint."
        )


class RpcRejected(ChainError):
    """The endpoint answered with a JSON-RPC error; `data` is the revert data, empty if none."""

    def __init__(self, method: str, code: int, message: str, data: bytes = b"") -> None:
        self.method = method
        self.code = code
        self.message = message
        self.data = data
        super().__init__(
            f"The node refused {method} (code {code}: {message}): check what was asked of it."
        )


class RpcMalformed(ChainError):
    """The endpoint answered something that is not JSON-RPC."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(
            f"The RPC endpoint {endpoint} did not answer in JSON-RPC ({reason}): "
            "check that the address is that of an Ethereum node."
        )


class WrongChain(ChainError):
    """The endpoint serves another chain than the one asked for."""

    def __init__(self, expected: int, actual: int) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"The RPC endpoint serves chain {actual}, not chain {expected}: "
            "change the RPC address or the chain id in the settings."
        )


class ArtifactMissing(ChainError):
    """No compiled contract of that name is packaged or lies in the checkout."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"The compiled contract {name} is missing: run `make setup`.")


class ContractMissing(ChainError):
    """An address that should hold a contract holds no code."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        super().__init__(
            f"No {name} is deployed at {address}: check the address and the chain it belongs to."
        )


class ContractReverted(ChainError):
    """A contract refused; `error` names the refusal and `values` holds its numbers by name."""

    def __init__(
        self, error: str, values: Mapping[str, object] | None = None, data: bytes = b""
    ) -> None:
        self.error = error
        self.values = dict(values or {})
        self.data = data
        numbers = ", ".join(f"{key}={value}" for key, value in self.values.items())
        super().__init__(f"The contract refused with {error}({numbers}).")


class TransactionNotMined(ChainError):
    """A transaction was sent but no block holds it yet; it may still be mined later."""

    def __init__(self, transaction_hash: str, timeout_s: float) -> None:
        self.transaction_hash = transaction_hash
        self.timeout_s = timeout_s
        super().__init__(
            f"Transaction {transaction_hash} was sent but not mined within {timeout_s:g} s: "
            "look for it on the chain before sending another."
        )


class DeploymentMissing(ChainError):
    """The file of deployed addresses is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"There is no addresses file at {path}: start a devnet or run `rebalancer deploy`."
        )


class DeploymentMalformed(ChainError):
    """The file of deployed addresses cannot be read as one."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"The addresses file {path} cannot be used ({reason}): "
            "make it anew with `rebalancer deploy`."
        )


# --- devnet: local nodes and markets -----------------------------------------------------------


class DevnetError(RebalancerError):
    """The local chain or its market could not be made or driven."""

    exit_code = 11


class NodeBinaryMissing(DevnetError):
    """The program that runs the local chain is not installed."""

    def __init__(self, binary: str) -> None:
        self.binary = binary
        super().__init__(
            f"The program {binary} is neither in node_modules/.bin nor on PATH: run `make setup`."
        )


class NodePortBusy(DevnetError):
    """Another program listens on the port the local chain was given."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(
            f"Port {port} is already in use: stop what listens there or choose another --port."
        )


class NodeDied(DevnetError):
    """The local chain ended by itself; `log_tail` holds its last lines."""

    def __init__(self, binary: str, exit_status: int, log_tail: str) -> None:
        self.binary = binary
        self.exit_status = exit_status
        self.log_tail = log_tail
        last_words = log_tail.strip() or "it printed nothing"
        super().__init__(f"{binary} ended with status {exit_status}; its last words: {last_words}")


class NodeNotReady(DevnetError):
    """The local chain runs but did not answer in time."""

    def __init__(self, binary: str, timeout_s: float, log_tail: str) -> None:
        self.binary = binary
        self.timeout_s = timeout_s
        self.log_tail = log_tail
        super().__init__(
            f"{binary} did not answer within {timeout_s:g} s: allow more time, or see its log: "
            f"{log_tail.strip() or 'empty'}"
        )


class MarketMismatch(DevnetError):
    """What was built on the local chain is not what it was built from."""

    def __init__(self, what: str, expected: object, actual: object) -> None:
        self.what = what
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"The local market's {what} is {actual} and should be {expected}: "
            "start the devnet anew; if it stays so, the snapshot does not describe this pool."
        )


# --- devnet: market tapes ----------------------------------------------------------------------


class TapeError(RebalancerError):
    """Something is wrong with a market tape."""


class TapeMissing(TapeError):
    """No tape was found where one was said to be."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"No tape in {path}: give a folder with files named like eth_usd_rounds.csv, "
            "or leave the tape away to play the synthetic market."
        )


class BadTape(TapeError):
    """A tape breaks its own rules; `line` is 0 when the whole file does."""

    def __init__(self, file: str, line: int, why: str) -> None:
        self.file = file
        self.line = line
        self.why = why
        where = f"{file}, line {line}" if line else file
        super().__init__(f"Bad tape ({where}): {why}; mend it or fetch it again.")


class BadCut(TapeError):
    """A span cannot be cut out of a tape."""

    def __init__(self, since: int | str | None, until: int | str | None, why: str) -> None:
        self.since = since
        self.until = until
        self.why = why
        super().__init__(f"Cannot cut the tape from {since} to {until}: {why}.")


# --- pools: quoting from a snapshot ------------------------------------------------------------


class PoolError(RebalancerError):
    """A pool cannot be read, or cannot trade what is asked of it."""

    exit_code = 12


class BadAmount(PoolError):
    """An amount to trade is nothing, less than nothing, or more than a venue can be asked for."""

    def __init__(self, amount_raw: object) -> None:
        self.amount_raw = amount_raw
        super().__init__(
            f"{amount_raw!r} is not an amount to trade: give a whole number of raw units "
            "from 1 to 2^255 - 1."
        )


class BadPoolSnapshot(PoolError):
    """A pool's snapshot is unreadable or contradicts itself; `source` is where it came from."""

    def __init__(self, why: str, source: str = "") -> None:
        self.why = why
        self.source = source
        where = f" {source}" if source else ""
        super().__init__(f"Bad pool snapshot{where}: {why}; mend it or fetch it again.")


class LiquidityExhausted(PoolError):
    """A pool cannot trade a whole amount; `possible_raw` of the same token is the most it can."""

    def __init__(self, pool: str, token: str, asked_raw: int, possible_raw: int) -> None:
        self.pool = pool
        self.token = token
        self.asked_raw = asked_raw
        self.possible_raw = possible_raw
        super().__init__(
            f"Pool {pool} can trade at most {possible_raw} raw units of {token}, not {asked_raw}: "
            "ask for less or use another pool."
        )


class UnknownToken(PoolError):
    """A pool does not trade the pair it was asked for."""

    def __init__(self, pool: str, token_in: str, token_out: str) -> None:
        self.pool = pool
        self.token_in = token_in
        self.token_out = token_out
        super().__init__(
            f"Pool {pool} does not trade {token_in} for {token_out}: use a pool of that pair."
        )


class UnsupportedPool(PoolError):
    """A snapshot is of a protocol that cannot be quoted."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        super().__init__(
            f"Pools of {protocol} cannot be quoted: use a Uniswap V3 pool of the same pair."
        )


# --- lab: records of a run and what is drawn from them ------------------------------------------


class LabError(RebalancerError):
    """Something is wrong with the record of a run or with what is made of it."""


class RecordsMissing(LabError):
    """There is no record where one was said to be."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"No record of a run at {path}: give the .jsonl file that a run wrote.")


class BadRecords(LabError):
    """A line of a record is not what a run writes."""

    def __init__(self, path: str, line: int, why: str) -> None:
        self.path = path
        self.line = line
        self.why = why
        super().__init__(f"Bad record ({path}, line {line}): {why}; mend that line or run again.")


class ChartFormatUnknown(LabError):
    """A chart was asked for in a format that is not drawn."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"Cannot draw {path}: name the chart .png or .svg.")


class ChartingMissing(LabError):
    """Charts need an optional library that is not installed."""

    def __init__(self) -> None:
        super().__init__("Charts need matplotlib: install it with pip install 'rebalancer[devnet]'.")


# --- policy: what the vault's rules refuse -----------------------------------------------------


class PolicyRefused(RebalancerError):
    """The vault's policy refuses a rebalance; `error` and `numbers` are those of the contract's error."""

    exit_code = 13

    def __init__(self, error: str, numbers: tuple[int | str, ...]) -> None:
        self.error = error
        self.numbers = numbers
        shown = ", ".join(str(number) for number in numbers)
        super().__init__(f"The vault's policy refuses this rebalance: {error}({shown}).")
