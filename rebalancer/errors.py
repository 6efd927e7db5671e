"""The whole error tree: every expected failure the package raises, by area.

Each error prints one sentence that says what is wrong and what to do, and keeps its numbers as
attributes. `exit_code` is what the command line exits with when the error reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rebalancer.texts import safe_text
from rebalancer.words import counted, named_number

_LONGEST_SENTENCE = 4_000
"""Characters of an error's sentence: a list of many addresses fits."""


class RebalancerError(Exception):
    """Root of the tree; catching it catches every expected failure and no programming mistake."""

    exit_code = 1

    def __init__(self, sentence: str = "") -> None:
        """The sentence may quote a node, a contract or a file: it is kept to one line, and shows what it holds."""
        super().__init__(safe_text(sentence, _LONGEST_SENTENCE))


# --- files, and whatever else the operating system refuses --------------------------------------


class SystemRefused(RebalancerError):
    """The operating system refused something: a file that cannot be read or written, a full disk, a folder where a file should be."""

    exit_code = 26

    def __init__(
        self,
        what: str,
        why: str,
        advice: str = "check the path, its permissions and the free space of the disk",
    ) -> None:
        self.what = what
        self.why = why
        super().__init__(f"{what} ({why}): {advice}.")

    @classmethod
    def of(cls, error: OSError) -> SystemRefused:
        """What an `OSError` says, as one sentence."""
        what = "A file or a connection" if error.filename is None else f"{error.filename}"
        return cls(f"{what} cannot be used", error.strerror or str(error))


# --- config: settings --------------------------------------------------------------------------


class ConfigError(RebalancerError):
    """A setting is wrong; `where` says who set it, empty when a whole file is wrong."""

    exit_code = 17

    def __init__(self, setting: str, where: str, problem: str) -> None:
        self.setting = setting
        self.where = where
        self.problem = problem
        super().__init__(f"{setting} {where}".strip() + f": {problem}.")


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


class RpcBusy(RpcUnreachable):
    """The endpoint is at a limit and asks to be left alone for `retry_seconds`, or does not say for how long (None)."""

    def __init__(self, endpoint: str, reason: str, retry_seconds: float | None = None) -> None:
        self.endpoint = endpoint
        self.reason = reason
        self.retry_seconds = retry_seconds
        wait = "" if retry_seconds is None else f"; it asks to wait {retry_seconds:g} s"
        ChainError.__init__(
            self,
            f"The RPC endpoint {endpoint} is at a limit ({reason}){wait}: "
            "ask it less often, or add another endpoint.",
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
        self.message = safe_text(message)
        self.data = data
        super().__init__(
            f"The node refused {method} (code {code}: {self.message}): check what was asked of it."
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


class EndpointsDisagree(ChainError):
    """Two endpoints gave different answers to one question about one block."""

    def __init__(self, method: str, first: str, second: str) -> None:
        self.method = method
        self.first = first
        self.second = second
        super().__init__(
            f"The RPC endpoints {first} and {second} do not agree on {method} at one block: "
            "one of them is wrong; find out which, and take it out of the settings."
        )


class QuorumTooSmall(ChainError):
    """Fewer endpoints than must agree are there or answer."""

    def __init__(self, needed: int, count: int) -> None:
        self.needed = needed
        self.count = count
        super().__init__(
            f"{needed} RPC endpoints must agree and {count} can: add endpoints, or ask for fewer to agree."
        )


class UnknownVault(ChainError):
    """A vault that is not among those that are looked after, or an address that answers as none."""

    def __init__(self, vault: str) -> None:
        self.vault = vault
        super().__init__(
            f"{vault} is none of the vaults looked after: add it to the settings, or check the address."
        )


class ArtifactMissing(ChainError):
    """No compiled contract of that name is packaged or lies in the checkout."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"The compiled contract {name} is missing: run `make setup` in a checkout, or install the package again."
        )


class ContractMissing(ChainError):
    """An address that should hold a contract holds no code, or another contract; `there` says which, where somebody has looked."""

    def __init__(self, name: str, address: str, there: str = "") -> None:
        self.name = name
        self.address = address
        self.there = there
        what = f", which is {there}" if there else ""
        super().__init__(
            f"No {name} is deployed at {address}{what}: check the address and the chain it belongs to."
        )


class ContractReverted(ChainError):
    """A contract refused; `error` names the refusal and `values` holds its numbers by name."""

    def __init__(
        self, error: str, values: Mapping[str, object] | None = None, data: bytes = b""
    ) -> None:
        self.error = error
        self.values = dict(values or {})
        self.data = data
        numbers = ", ".join(named_number(key, value) for key, value in self.values.items())
        super().__init__(f"The contract refused with {error}({numbers}).")


class BlockVanished(ChainError):
    """A block that was to be read is not on the chain, or not any more."""

    def __init__(self, number: int, block_hash: str) -> None:
        self.number = number
        self.block_hash = block_hash
        super().__init__(
            f"Block {number} ({block_hash}) is not on the endpoint's chain: take a newer one and ask again."
        )


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


class TokenNotInBasket(ChainError):
    """A vault's basket has no such token."""

    def __init__(self, wanted: str, known: Sequence[str]) -> None:
        self.wanted = wanted
        self.known = tuple(known)
        super().__init__(
            f"The vault's basket has no {wanted}: name one of its tokens, {', '.join(known)}."
        )


class TokenNotListed(ChainError):
    """The addresses file does not name a token."""

    def __init__(self, wanted: str, known: list[str]) -> None:
        self.wanted = wanted
        self.known = known
        super().__init__(
            f"The token {wanted} is not in the addresses file, which knows {', '.join(known)}: "
            "use one of those, or add it to the file."
        )


class SystemMissing(ChainError):
    """The addresses file does not name all contracts of the system."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(
            f"The addresses file does not name {', '.join(names)}: run `rebalancer deploy` first."
        )


class LaunchUnfinished(ChainError):
    """The addresses file names a system that is not wholly there yet, or whose roles are not handed out."""

    def __init__(self, deployer: str) -> None:
        self.deployer = deployer
        super().__init__(
            f"The deployment that the addresses file names has not come to its end: have {deployer} run "
            "`rebalancer deploy` again with the same options."
        )


class FactoryMissing(ChainError):
    """The factory that puts contracts at the same addresses on every chain is not on this one."""

    def __init__(self, chain_id: int, factory: str, signer: str, cost_wei: int) -> None:
        self.chain_id = chain_id
        self.factory = factory
        super().__init__(
            f"Chain {chain_id} lacks the deterministic-deployment factory at {factory}: send {_ether(cost_wei)} ether to {signer} and have a "
            "node of the chain take its presigned transaction (github.com/Arachnid/deterministic-deployment-proxy), or deploy on another chain."
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
            f"The program {binary} is not on PATH: install it (Foundry has anvil, npm has hardhat), or run `make setup` in a checkout."
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


class BalanceNotFound(DevnetError):
    """A token keeps its balances where they cannot be written from outside."""

    def __init__(self, token: str) -> None:
        self.token = token
        super().__init__(
            f"The balances of token {token} cannot be set: take it from an account that has some."
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


class DemoFolderInUse(DevnetError):
    """Another demo writes into the folder of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            f"Another demo writes into {folder}: name another folder with --out, or wait for its end."
        )


class DemoFailed(DevnetError):
    """At the end of a demo something is not as it must be."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"The demo failed: {what}; its record and log say more.")


# --- pools: quoting from a snapshot ------------------------------------------------------------


class PoolError(RebalancerError):
    """A pool cannot be read, or cannot trade what is asked of it."""

    exit_code = 12


class BadAmount(PoolError):
    """An amount to trade is nothing, less than nothing, or more than a venue can be asked for."""

    def __init__(self, amount_raw: object, bits: int = 255) -> None:
        self.amount_raw = amount_raw
        super().__init__(
            f"{amount_raw!r} is not an amount to trade: give a whole number of raw units "
            f"from 1 to 2^{bits} - 1."
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
    """A snapshot is of a protocol that is not known here, or not of use where it was given."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        super().__init__(
            f"Pools of {protocol} cannot be used here: use another pool of the same pair."
        )


class PoolDiverged(PoolError):
    """A pool kept from logs is not what the chain says it is; it is not traded on until it is read again."""

    def __init__(self, pool: str, block: int, why: str) -> None:
        self.pool = pool
        self.block = block
        self.why = why
        super().__init__(
            f"Pool {pool} as kept from its logs is not the chain's at block {block}: {why}. It is not traded on "
            "until it is read again, which a keeper does by itself, and at once after `rebalancer pool retry`: report it."
        )


# --- lab: records of a run and what is drawn from them ------------------------------------------


class LabError(RebalancerError):
    """Something is wrong with the record of a run or with what is made of it."""


class RecordsMissing(LabError):
    """There is no record where one was said to be."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"No record at {path}: give the .jsonl file that a run or a keeper wrote.")


class RecordInUse(LabError):
    """Another process writes the record of a keeper."""

    exit_code = 14  # as for an outbox in use

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"Another keeper writes the record {path}: give each its own in keeper.record_file, or stop the other."
        )


class BadRecords(LabError):
    """A line of a record is not what a run writes."""

    def __init__(self, path: str, line: int, why: str) -> None:
        self.path = path
        self.line = line
        self.why = why
        super().__init__(
            f"The record {path} ends at line {line}, which is not what a run or a keeper writes ({why}): "
            "use what comes before it, or record again."
        )


class ChartFormatUnknown(LabError):
    """A chart was asked for in a format that is not drawn."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"Cannot draw {path}: name the chart .png or .svg.")


class ChartingMissing(LabError):
    """Charts need an optional library that is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Charts need matplotlib: install it with pip install 'rebalancer[devnet]'."
        )


# --- policy: what the vault's rules refuse -----------------------------------------------------


class PolicyRefused(RebalancerError):
    """The vault's policy refuses a rebalance; `error` and `numbers` are those of the contract's error."""

    exit_code = 13

    def __init__(self, error: str, numbers: tuple[int | str, ...]) -> None:
        self.error = error
        self.numbers = numbers
        shown = ", ".join(str(number) for number in numbers)
        super().__init__(f"The vault's policy refuses this rebalance: {error}({shown}).")


# --- keeper ------------------------------------------------------------------------------------


class KeeperError(RebalancerError):
    """The keeper stopped by itself."""

    exit_code = 20


class KeeperNotAuthorized(KeeperError):
    """The keeper's account may not call `rebalance`."""

    exit_code = 21

    def __init__(self, account: str, vault: str, role: str) -> None:
        self.account = account
        self.vault = vault
        self.role = role
        super().__init__(
            f"The account {account} does not hold the role {role} of vault {vault}: "
            "ask the owner to grant it, or use the keeper's own key."
        )


class TooManyFailures(KeeperError):
    """Tick after tick failed; `last` is the last failure."""

    exit_code = 22

    def __init__(self, failures: int, last: Exception) -> None:
        self.failures = failures
        self.last = last
        super().__init__(f"The keeper stopped after {failures} failed ticks in a row: {last}")


class AllChainsRest(KeeperError):
    """On every chain look after look failed; `failures` are the last ones, in words."""

    exit_code = 22

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__(
            f"The keeper stopped, as none of its {len(self.failures)} chains can be looked at: "
            + " ".join(self.failures)
        )


class BooksDiffer(KeeperError):
    """After a rebalance the vault's books are not what the policy says they must be."""

    exit_code = 23

    def __init__(
        self,
        vault: str,
        transaction_hash: str,
        expected_held: tuple[int, ...],
        actual_held: tuple[int, ...],
    ) -> None:
        self.vault = vault
        self.transaction_hash = transaction_hash
        self.expected_held = expected_held
        self.actual_held = actual_held
        super().__init__(
            f"Vault {vault} holds {actual_held} after {transaction_hash}, and the policy says "
            f"{expected_held}: stop and find out why before trading again."
        )


# --- send: keys, fees, transactions -------------------------------------------------------------


class FeeAboveCap(ChainError):
    """Gas costs more than the settings allow to be paid."""

    def __init__(self, base_fee_wei: int, cap_wei: int) -> None:
        self.base_fee_wei = base_fee_wei
        self.cap_wei = cap_wei
        super().__init__(
            f"The chain's base fee is {_gwei(base_fee_wei)} gwei and the cap is {_gwei(cap_wei)} "
            "gwei: wait until gas is cheaper or raise the cap."
        )


class InsufficientEther(ChainError):
    """An account cannot pay what is to be sent may cost: its value and all its gas."""

    def __init__(self, address: str, needed_wei: int, balance_wei: int) -> None:
        self.address = address
        self.needed_wei = needed_wei
        self.balance_wei = balance_wei
        super().__init__(
            f"{address} holds {_ether(balance_wei)} ether and needs up to "
            f"{_ether(needed_wei)} for this: send it at least {_ether(needed_wei - balance_wei)} more."
        )


class NonceGap(ChainError):
    """A journalled transaction does not fit the chain's count of the account's transactions."""

    def __init__(self, transaction_hash: str, nonce: int, next_nonce: int) -> None:
        self.transaction_hash = transaction_hash
        self.nonce = nonce
        self.next_nonce = next_nonce
        super().__init__(
            f"The outbox holds transaction {transaction_hash} with nonce {nonce}, which does not "
            f"fit the chain, whose next is {next_nonce}: if the chain was started anew, start with "
            "a new outbox file."
        )


class ForeignPending(ChainError):
    """An account has transactions under way that the outbox did not send."""

    def __init__(self, address: str, nonces: Sequence[int]) -> None:
        self.address = address
        self.nonces = tuple(nonces)
        super().__init__(
            f"{address} has transactions under way that this outbox did not send (nonces "
            f"{', '.join(map(str, nonces))}): stop whoever else uses that key, then wait until they "
            "are mined or replace them with `rebalancer tx clear`."
        )


class TooManyGaps(ChainError):
    """More nonces are missing below a journalled one than are filled unasked."""

    def __init__(self, address: str, nonces: Sequence[int], most: int) -> None:
        self.address = address
        self.nonces = tuple(nonces)
        self.most = most
        super().__init__(
            f"The chain lacks {len(nonces)} transactions of {address} below those in the outbox "
            f"(nonces {nonces[0]} to {nonces[-1]}) and no more than {most} are filled unasked: if "
            "the chain was started anew, start with a new outbox file; else run `rebalancer tx "
            "clear`."
        )


class NotCancellable(ChainError):
    """What is to be cancelled is not under way, or the fee cap leaves no room to replace it."""

    def __init__(self, attempt_id: int, why: str) -> None:
        self.attempt_id = attempt_id
        self.why = why
        super().__init__(
            f"Attempt {attempt_id} cannot be cancelled ({why}): see `rebalancer tx list`."
        )


class SimulationRefused(ChainError):
    """Simulated right before signing, a rebalance is refused by a contract; nothing was signed."""

    def __init__(self, refusal: ContractReverted) -> None:
        self.refusal = refusal
        super().__init__(
            f"Simulated right before signing, it is refused ({str(refusal).rstrip('.')}): plan anew "
            "at the newest block."
        )


class SimulationDiffers(ChainError):
    """Simulated right before signing, a rebalance does not do what the plan says."""

    def __init__(self, asset: int, planned_raw: int, simulated_raw: int) -> None:
        self.asset = asset
        self.planned_raw = planned_raw
        self.simulated_raw = simulated_raw
        super().__init__(
            f"Simulated, the rebalance changes asset {asset} by {simulated_raw} where the plan "
            f"allows {planned_raw}: plan anew at the newest block."
        )


class SendUncertain(ChainError):
    """The connection broke while a transaction was being sent: it may or may not be on its way."""

    def __init__(self, transaction_hash: str, why: str) -> None:
        self.transaction_hash = transaction_hash
        self.why = why
        super().__init__(
            f"Transaction {transaction_hash} may or may not have been sent ({why}): "
            "look for it on the chain before trying again."
        )


class SignerError(RebalancerError):
    """The key that signs transactions cannot be used."""

    exit_code = 15


class KeystoreNotNamed(SignerError):
    """No key was named, and this is not a local chain with keys of its own."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id
        super().__init__(
            f"No keystore is set, and chain {chain_id} is not a local one with test accounts: "
            "set keeper.keystore (for a person's own account wallet.keystore)."
        )


class KeystoreMissing(SignerError):
    """There is no keystore file where one was said to be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"There is no keystore at {path}: name an encrypted JSON keystore, "
            "such as `ape accounts generate` or geth makes."
        )


class KeystoreUnreadable(SignerError):
    """A file is not an encrypted JSON keystore."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(
            f"The keystore {path} cannot be used ({why}): name an encrypted JSON keystore, "
            "such as `ape accounts generate` or geth makes."
        )


class WrongPassword(SignerError):
    """The password does not open the keystore."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"The password does not open the keystore {path}: "
            "type it again, or correct the file or the variable that holds it."
        )


class PasswordMissing(SignerError):
    """Nobody gave the keystore's password."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(
            f"There is no password for the keystore ({why}): name its file in keystore_password_file, or set "
            "REBALANCER_WALLET__KEYSTORE_PASSWORD, for a keeper REBALANCER_KEEPER__KEYSTORE_PASSWORD."
        )


class DevnetKeyOnRealChain(SignerError):
    """A test key that everybody knows was to sign for a chain that is not a devnet."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id
        super().__init__(
            f"The devnet's keys are public and never sign for chain {chain_id}: use a keystore."
        )


class SignerUnavailable(SignerError):
    """The external signer does not answer, or does not sign."""

    def __init__(self, endpoint: str, why: str) -> None:
        self.endpoint = endpoint
        self.why = why
        super().__init__(
            f"The signer {endpoint} did not sign ({why}): check that it runs, holds the key and "
            "allows this transaction."
        )


class SignedOtherwise(SignerError):
    """An external signer signed something else than was asked, or with another key; nothing was sent."""

    def __init__(self, field: str, asked: object, signed: object) -> None:
        self.field = field
        self.asked = asked
        self.signed = signed
        super().__init__(
            f"The signer signed another transaction than was asked: {field} is {signed}, not "
            f"{asked}. Do not use it before you know why: it may be broken or hostile."
        )


# --- send: limits of a key ----------------------------------------------------------------------


class LimitError(RebalancerError):
    """A key was to sign what its limits forbid; nothing was signed."""

    exit_code = 18


class FeeAboveLimit(LimitError):
    """A transaction offers more for its gas than its key may."""

    def __init__(self, address: str, offered_wei: int, limit_wei: int) -> None:
        self.address = address
        self.offered_wei = offered_wei
        self.limit_wei = limit_wei
        super().__init__(
            f"{address} may offer {_gwei(limit_wei)} gwei for gas and was to offer "
            f"{_gwei(offered_wei)}: wait until gas is cheaper or raise the limit."
        )


class SpendLimitReached(LimitError):
    """A transaction may cost more than is left of its key's allowance for a day."""

    def __init__(self, address: str, spent_wei: int, more_wei: int, limit_wei: int) -> None:
        self.address = address
        self.spent_wei = spent_wei
        self.more_wei = more_wei
        self.limit_wei = limit_wei
        super().__init__(
            f"{address} spent or may yet spend {_ether(spent_wei)} ether within 24 hours, this may "
            f"cost {_ether(more_wei)}, and its limit is {_ether(limit_wei)}: wait, or raise the "
            "limit."
        )


class L1FeeUnknown(LimitError):
    """A rollup charges for a transaction's data on L1 and does not tell how much."""

    def __init__(self, chain_id: int, why: str) -> None:
        self.chain_id = chain_id
        self.why = why
        super().__init__(
            f"Chain {chain_id} charges for data on L1 and does not tell how much ({why}): nothing is sent "
            "whose cost cannot be counted; try again later or use another endpoint."
        )


class CallNotAllowed(LimitError):
    """A key was to call a contract or a function that is not on its list."""

    def __init__(self, address: str, to: str, selector: str) -> None:
        self.address = address
        self.to = to
        self.selector = selector
        super().__init__(
            f"{address} may not call {selector or 'nothing'} of {to}: if it should, add that to its "
            "limits."
        )


class NoFreeLane(LimitError):
    """None of the accounts that may send an intent has room for another transaction."""

    def __init__(self, vault: str, allowed: int, busy: int) -> None:
        self.vault = vault
        self.allowed = allowed
        self.busy = busy
        super().__init__(
            f"No account is free to act on {vault} ({allowed} may, {busy} of them have all they may "
            "have under way): wait for the next block, or add an account."
        )


# --- send: the outbox ---------------------------------------------------------------------------


class OutboxError(RebalancerError):
    """The journal of sent transactions cannot be used, so nothing is sent."""

    exit_code = 14


class OutboxInUse(OutboxError):
    """Another process holds the outbox."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path = path
        self.holder = holder
        super().__init__(
            f"The outbox {path} is in use by {holder}: "
            "stop that one, or give this keeper another outbox and another key."
        )


class OutboxUnreadable(OutboxError):
    """The outbox file is damaged, of another program, or of another version."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(
            f"The outbox {path} cannot be read ({why}): "
            "check on the chain that nothing is pending, then move the file away."
        )


class OutboxMissing(OutboxError):
    """There is no outbox file where one was to be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"There is no outbox at {path}: a keeper makes it when it first starts; look from the folder that the keeper runs in, or name "
            "its file in keeper.outbox_file."
        )


class OutboxUnwritable(OutboxError):
    """The outbox cannot be written: the disk is full, or the folder or file is protected."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(
            f"The outbox {path} cannot be written ({why}): "
            "free disk space or mend its permissions, then start again."
        )


class SpendingUnwritable(OutboxError):
    """What keys spend in a day cannot be read or written, so nothing may be sent."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(
            f"What keys spend in a day cannot be kept in {path} ({why}): "
            "name a file that can be written as keeper.spending_file."
        )


# --- fleet: what many machines share ------------------------------------------------------------


class FleetError(RebalancerError):
    """A machine of a fleet cannot do its part."""

    exit_code = 24


class SharedStateUnreachable(ChainError):
    """Redis, which a fleet shares and asks before it sends, does not answer; `redis` is its address without credentials."""

    exit_code = 24

    def __init__(self, redis: str, reason: str) -> None:
        self.redis = redis
        self.reason = reason
        super().__init__(
            f"The fleet's Redis {redis} cannot be reached ({reason}): "
            "nothing is signed or sent without it; check that it runs and that the address is right."
        )


class LeaseLost(FleetError):
    """This machine may not sign or send for an account, or not any more."""

    exit_code = 25

    def __init__(self, lease: str, why: str) -> None:
        self.lease = lease
        self.why = why
        super().__init__(
            f"The lease {lease} is not held ({why}): nothing is signed or sent; "
            "another machine may be at it, and this one may start again and wait its turn."
        )


class TokenStale(FleetError):
    """The ledger refused an entry under a token that is not the newest; `newest` is None if none is known."""

    exit_code = 25

    def __init__(self, lease: str, token: int, newest: int | None) -> None:
        self.lease = lease
        self.token = token
        self.newest = newest
        known = "no token is known any more" if newest is None else f"the newest is {newest}"
        super().__init__(
            f"The ledger of lease {lease} refuses token {token} ({known}): nothing was sent; "
            "another machine is at it, or Redis lost its data; start again and wait your turn."
        )


class LedgerUnreadable(FleetError):
    """An entry of the shared ledger is not what this program writes."""

    def __init__(self, lease: str, key: str, why: str) -> None:
        self.lease = lease
        self.key = key
        self.why = why
        super().__init__(
            f"The entry {key} in the ledger of lease {lease} cannot be read ({why}): machines of one "
            "fleet run one version of this program; check who else writes to this Redis."
        )


class WireUnreadable(FleetError):
    """What another machine of the fleet told is not what this program tells; `what` is "order", "answer", or a part of one."""

    def __init__(self, what: str, why: str) -> None:
        self.what = what
        self.why = why
        super().__init__(
            f"What another machine sent as {what} cannot be used ({why}): machines of one fleet run "
            "one version of this program; check who else writes to this Redis."
        )


def _gwei(wei: int) -> str:
    return _decimal(wei, 9)


def _ether(wei: int) -> str:
    return _decimal(wei, 18)


def _decimal(units: int, decimals: int) -> str:
    """Exact, without trailing zeros or an exponent."""
    whole, rest = divmod(units, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}".rstrip("0").rstrip(".")


# --- plan: routes and splits -------------------------------------------------------------------


class PlanError(RebalancerError):
    """A plan cannot be made from what was given."""

    exit_code = 13


class BadPlanInput(PlanError):
    """What a plan is asked for contradicts itself."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"No plan can be made: {why}; give one entry for each asset, in order.")


class BadRoute(PlanError):
    """A route cannot be written or read; `position` is the hop when writing, the byte when reading."""

    def __init__(self, position: int, why: str) -> None:
        self.position = position
        self.why = why
        super().__init__(f"Bad route at {position}: {why}; build it with rebalancer.route.")


class NoRoute(PlanError):
    """No set of pools takes a whole amount of one token and gives another."""

    def __init__(self, token_in: str, token_out: str, amount_raw: int) -> None:
        self.token_in = token_in
        self.token_out = token_out
        self.amount_raw = amount_raw
        super().__init__(
            f"No pools known here trade {amount_raw} raw units of {token_in} for {token_out}: "
            "add pools of the pair or ask for less."
        )


class DepositTooSmall(PlanError):
    """An amount is too little to buy even one raw unit of each asset of a basket."""

    def __init__(self, token: str, amount_raw: int) -> None:
        self.token = token
        self.amount_raw = amount_raw
        super().__init__(
            f"A deposit of {counted(amount_raw, 'raw unit')} of {token} is too little to buy even the smallest unit of every asset: deposit more."
        )


# --- actions: what people do with a vault -------------------------------------------------------


class ActionError(RebalancerError):
    """What a person asked for cannot be done; nothing was sent."""

    exit_code = 16


class NothingAsked(ActionError):
    """An amount of nothing was to be moved."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"The amount of {what} must be above 0: say how much.")


class NothingToClaim(ActionError):
    """A vault owes an account nothing of a token."""

    def __init__(self, holder: str, token: str) -> None:
        self.holder = holder
        self.token = token
        super().__init__(
            f"{holder} has no claim on {token}: name the holder, or another token; "
            "`rebalancer vault position` shows what an account owns."
        )


class NothingToSend(ActionError):
    """A verdict asks for no call."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        self.text = text
        super().__init__(f"Nothing is to be sent ({reason}): {text.rstrip('.')}.")


class NoShares(ActionError):
    """All shares of an account were to be redeemed, and it has none."""

    def __init__(self, holder: str, vault: str) -> None:
        self.holder = holder
        self.vault = vault
        super().__init__(
            f"{holder} has no shares of {vault}: name the account or the vault that is meant; "
            "`rebalancer vault position` shows what an account owns."
        )


class NothingToDeposit(ActionError):
    """All of a token was to be deposited, and there is none, or not more ether than the gas costs."""

    def __init__(self, account: str, token: str) -> None:
        self.account = account
        self.token = token
        super().__init__(
            f"{account} has no {token} to deposit, or no more than the gas costs: send it some first."
        )


class VaultNotNamed(ActionError):
    """It is not clear which vault is meant."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = tuple(known)
        super().__init__(
            f"{len(known)} vaults are known here: say with --vault which is meant, {', '.join(known)}."
            if known
            else "No vault is known here: name one with --vault, or make one with "
            "`rebalancer vault create`."
        )


class AttemptNotNamed(ActionError):
    """It is not clear which attempt in the outbox is meant."""

    def __init__(self, found: Sequence[int]) -> None:
        self.found = tuple(found)
        known = ", ".join(map(str, found)) or "none"
        super().__init__(
            f"Which attempt is meant is not clear (those that fit: {known}): name one that is "
            "under way with --id, as `rebalancer tx list` shows them."
        )


class AmountUnreadable(ActionError):
    """A text is not the amount or fraction it should be."""

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        self.why = why
        super().__init__(f"{text!r} is not an amount: {why}.")


class BalanceTooLow(ActionError):
    """An account holds less of a token than it wants to give; amounts are raw units."""

    def __init__(
        self,
        account: str,
        token: str,
        symbol: str,
        decimals: int,
        needed_raw: int,
        balance_raw: int,
    ) -> None:
        self.account = account
        self.token = token
        self.needed_raw = needed_raw
        self.balance_raw = balance_raw
        missing = _decimal(needed_raw - balance_raw, decimals)
        super().__init__(
            f"{account} holds {_decimal(balance_raw, decimals)} {symbol} and needs "
            f"{_decimal(needed_raw, decimals)}: ask for less or send it {missing} more."
        )


class NotPermitted(ActionError):
    """The vault's authority does not let an account call a function."""

    def __init__(self, account: str, function: str, target: str) -> None:
        self.account = account
        self.function = function
        self.target = target
        super().__init__(
            f"The account {account} may not call {function} of {target}: "
            "use an account whose role may, or have the owner grant it."
        )


class TargetsDoNotSumToOne(ActionError):
    """Target weights, fractions of 1e18, do not add up to one."""

    def __init__(self, sum_e18: int) -> None:
        self.sum_e18 = sum_e18
        off = sum_e18 - 10**18
        direction = "above" if off > 0 else "below"
        super().__init__(
            f"The targets add up to {_decimal(sum_e18, 16)} %, which is "
            f"{_decimal(abs(off), 16)} % {direction} 100 %: change one of them by that much."
        )


class BandOutOfRange(ActionError):
    """A band is not between the vault's dust and 5,000 basis points."""

    def __init__(self, asset: str, band_bps: int, minimum_bps: int, maximum_bps: int) -> None:
        self.asset = asset
        self.band_bps = band_bps
        self.minimum_bps = minimum_bps
        self.maximum_bps = maximum_bps
        super().__init__(
            f"The band of {asset} is {band_bps} bps: "
            f"give one from {minimum_bps} to {maximum_bps} bps."
        )


class AssetCountOutOfRange(ActionError):
    """A basket has fewer or more assets than a vault can hold, or a list not one entry for each."""

    def __init__(self, what: str, count: int, minimum: int, maximum: int) -> None:
        self.count = count
        self.minimum = minimum
        self.maximum = maximum
        wanted = str(minimum) if minimum == maximum else f"from {minimum} to {maximum}"
        have = f"is 1 {what.removesuffix('s')}" if count == 1 else f"are {count} {what}"
        super().__init__(f"There {have}: give {wanted}.")


class FeeOutOfRange(ActionError):
    """A fee is above what a vault may charge."""

    def __init__(self, name: str, fee_bps: int, maximum_bps: int) -> None:
        self.name = name
        self.fee_bps = fee_bps
        self.maximum_bps = maximum_bps
        super().__init__(
            f"{name} is {fee_bps} and may be at most {maximum_bps}: choose a lower fee."
        )


class SeedTooSmall(ActionError):
    """A vault would start with too little of `what` for the part of it that is locked for ever."""

    def __init__(self, what: str, amount_raw: int, minimum_raw: int) -> None:
        self.what = what
        self.amount_raw = amount_raw
        self.minimum_raw = minimum_raw
        super().__init__(
            f"The seed has {amount_raw} {what}, and a vault begins with at least {minimum_raw}, because a part is "
            "locked for ever: give more, or none of an asset."
        )


class NotByContract(ActionError):
    """What was to be written down for another account to send cannot be done by a contract, as a Safe is."""

    def __init__(self, what: str, instead: str) -> None:
        self.what = what
        super().__init__(f"A contract account cannot send {what}: {instead}.")


class NotTheClaimant(ActionError):
    """A claim was to be paid elsewhere by somebody who does not hold it."""

    def __init__(self, account: str, holder: str) -> None:
        self.account = account
        self.holder = holder
        super().__init__(
            f"The claim is {holder}'s, so {account} can only have it paid to {holder}: "
            "leave --receiver out, or use the holder's account."
        )


class AlreadyDeployed(ActionError):
    """The addresses file names a system already."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} names a system already: use it, name another file with --deployment, "
            "or deploy a second one with --anew."
        )


class LaunchOfAnother(ActionError):
    """Another account began a launch, which only that one can finish."""

    def __init__(self, path: Path, deployer: str, account: str) -> None:
        self.path = path
        self.deployer = deployer
        self.account = account
        super().__init__(
            f"{path} names a deployment that {deployer} began, and {account} cannot finish it: use that account, or begin another one "
            "with --anew."
        )


class LaunchStopped(ActionError):
    """A launch ended before its end; what was done stands in the addresses file."""

    def __init__(self, cause: RebalancerError, done: int, path: Path) -> None:
        self.cause = cause
        self.done = done
        self.path = path
        self.exit_code = cause.exit_code
        super().__init__(
            f"The deployment stopped after {counted(done, 'transaction')} ({str(cause).rstrip('.')}): run the same command again when that is mended, "
            f"which goes on from {path}."
        )


class LaunchDiffers(ActionError):
    """What is on the chain is not what was to be launched."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(
            f"This account's system is on the chain already, and differs from what was asked ({why}): ask for what is there, or deploy "
            "another one with --anew."
        )


class AdminUnknown(ActionError):
    """A role was to be given to an address that nobody seems to have."""

    def __init__(self, role: str, address: str) -> None:
        self.role = role
        self.address = address
        super().__init__(
            f"The {role} {address} is neither a contract on this chain nor an account that ever had ether here: check the address, and deploy "
            "the contract or send the account some ether first."
        )


class AddressesKept(ActionError):
    """A file at the path of the addresses file would be lost if another were written there."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(
            f"{path} is not written over, because {why}: name another file with --deployment, or move this one away."
        )


class SourceUnsound(ActionError):
    """A token's second source does not answer as it must, or does not agree with the token's feed."""

    def __init__(self, token: str, why: str) -> None:
        self.token = token
        self.why = why
        super().__init__(
            f"The second source of {token} cannot be used ({why}): "
            "name the right one, or wait until it agrees."
        )


class RoleNotHeld(ActionError):
    """A role was to be taken from an account that does not hold it."""

    def __init__(self, account: str, role: str) -> None:
        self.account = account
        self.role = role
        super().__init__(
            f"{account} does not hold the role {role}: check the address; `rebalancer admin show` lists who holds it."
        )


class LastAdmin(ActionError):
    """The only admin was to lose its role: nobody could ever hand out a role again."""

    def __init__(self, account: str) -> None:
        self.account = account
        super().__init__(
            f"{account} is the only admin, and without it nobody could hand out roles ever again: make another one first, with "
            "`rebalancer admin hand-over`."
        )


class OperationUnknown(ActionError):
    """No scheduled operation, or more than one, is meant by an id."""

    def __init__(self, operation: str, known: Sequence[str]) -> None:
        self.operation = operation
        self.known = tuple(known)
        listed = ", ".join(known) or "none"
        super().__init__(
            f"{operation} is not the id of one scheduled operation (scheduled: {listed}): "
            "name one that `rebalancer admin show` lists."
        )


class ArgumentsUnreadable(ActionError):
    """Arguments do not fit the function that is to be called."""

    def __init__(self, signature: str, why: str) -> None:
        self.signature = signature
        self.why = why
        super().__init__(
            f"The arguments do not fit {signature} ({why}): give one --arg for each, lists as JSON."
        )


class FunctionUnknown(ActionError):
    """A contract has no function of that name."""

    def __init__(self, contract: str, function: str) -> None:
        self.contract = contract
        self.function = function
        super().__init__(
            f"{contract} has no function {function}: check the name, or give its signature."
        )


class PoolUnsound(ActionError):
    """A pool that a person named cannot be traded on."""

    def __init__(self, pool: str, why: str) -> None:
        self.pool = pool
        self.why = why
        super().__init__(
            f"The pool {pool} cannot be used ({why}): name another one, or leave it out."
        )


class SequencerUnwatched(ActionError):
    """A chain whose sequencer has an uptime feed was to be priced without it."""

    def __init__(self, chain: str, feed: str) -> None:
        self.chain = chain
        self.feed = feed
        super().__init__(
            f"Transactions of {chain} go through a sequencer, and prices are stale while it is down: name its uptime feed, which Chainlink has "
            f"at {feed}, under [sequencer]."
        )


class FeedUnsound(ActionError):
    """A price feed does not answer as it must to be used."""

    def __init__(self, feed: str, why: str) -> None:
        self.feed = feed
        self.why = why
        super().__init__(
            f"The feed {feed} cannot be used ({why}): name the right feed, or wait for its answer."
        )


# --- watch: what an operator sees of a running keeper ------------------------------------------


class WatchError(RebalancerError):
    """A running keeper cannot be seen."""

    exit_code = 19


class ListenFailed(WatchError):
    """The keeper cannot serve its metrics and status where the settings say."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        self.why = why
        super().__init__(
            f"Nothing can be served at {where} ({why}): another keeper may be there; "
            'set keeper.listen to another host:port, or to "off".'
        )


class NoKeeperAnswers(WatchError):
    """No running keeper answers where one was looked for."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        self.why = why
        super().__init__(
            f"No keeper answers at {where} ({why}): start one with `rebalancer keeper run`, "
            "or say where it listens with --url."
        )
