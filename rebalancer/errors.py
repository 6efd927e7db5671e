"""Error tree: every expected failure of the package, by area.

An error declares its fields like a dataclass, and a template: one sentence with field names in braces, with the
problem, a colon and the remedy. Errors are equal if their fields are equal, and can be copied and pickled. `exit_code`
is the exit code of the command line for this error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar, dataclass_transform

from rebalancer.texts import safe_text
from rebalancer.words import counted, named_number

_LONGEST_SENTENCE = 4_000
"""Maximum length of an error's sentence, in characters: a list of many addresses fits."""


def _decimal(units: int, decimals: int) -> str:
    """`units` / 10**decimals, exactly, without trailing zeros or an exponent."""
    whole, rest = divmod(units, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}".rstrip("0").rstrip(".")


def _value(value: object) -> str:
    """A value of any type, without Python's quotes and brackets."""
    if value is None:
        return "missing"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return str(value)


_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "ether": lambda wei: _decimal(wei, 18),
    "gwei": lambda wei: _decimal(wei, 9),
    "percent": lambda fraction_e18: _decimal(fraction_e18, 16),
    "list": lambda items: ", ".join(map(str, items)),
    "list_or_none": lambda items: ", ".join(map(str, items)) or "none",
    "value": _value,
    "clause": lambda sentence: str(sentence).rstrip("."),
}
"""Format specifications for templates, in addition to Python's."""


class _Sentence(Formatter):
    """Formatter that fills a template with the fields and properties of an error."""

    def get_value(self, key: int | str, args: Sequence[Any], _: Mapping[str, Any]) -> Any:
        return getattr(args[0], str(key))

    def format_field(self, value: Any, format_spec: str) -> str:
        show = _FORMATS.get(format_spec)
        return format(value, format_spec) if show is None else show(value)


_SENTENCE = _Sentence()


@dataclass_transform(eq_default=False, field_specifiers=(field,))
class RebalancerError(Exception):
    """Root of the tree. Catching it catches every expected failure and no bug.

    Base classes have no template and are not raised.
    """

    exit_code = 1
    template: ClassVar[str] = ""
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        if cls.__doc__ is None:
            cls.__doc__ = cls.template
        # Not frozen: Python itself sets __traceback__ and __cause__.
        dataclass(eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        """Store the fields in `args` too, which Python uses to copy, pickle and show an error."""
        for name in self.__match_args__:
            value = getattr(self, name)
            if isinstance(value, list):
                setattr(self, name, tuple(value))
            elif isinstance(value, Mapping):
                setattr(self, name, dict(value))
        self.args = tuple(getattr(self, name) for name in self.__match_args__)

    def __str__(self) -> str:
        """The sentence on one line, with control characters removed: fields may quote a node, a contract or a file."""
        return safe_text(_SENTENCE.vformat(self.template, (self,), {}), _LONGEST_SENTENCE)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.args == other.args

    def __hash__(self) -> int:
        return hash(type(self))  # a field may be a dict or another error


# --- files and other operating-system errors --------------------------------------


class SystemRefused(RebalancerError):
    """The operating system refused an operation, for example because a file cannot be written or the disk is full."""

    what: str
    why: str
    advice: str = "check the path, its permissions and the free space of the disk"
    template = "{what} ({why:clause}): {advice}."
    exit_code = 26

    @classmethod
    def of(cls, error: OSError) -> SystemRefused:
        """An `OSError` as an error of this tree."""
        what = "A file or a connection" if error.filename is None else f"{error.filename}"
        return cls(f"{what} cannot be used", error.strerror or str(error))


# --- config: settings --------------------------------------------------------------------------


class ConfigError(RebalancerError):
    """A setting is not valid; `where` is its source, empty if a whole file is not valid."""

    setting: str
    where: str
    problem: str
    template = "{subject}: {problem}."
    exit_code = 17

    @property
    def subject(self) -> str:
        return f"{self.setting} {self.where}".strip()


# --- chain: JSON-RPC, contracts, addresses -----------------------------------------------------


class ChainError(RebalancerError):
    """Communication with the chain failed."""

    exit_code = 10


class RpcUnreachable(ChainError):
    """The endpoint gave no usable answer: connection refused or reset, unknown host, or an HTTP error."""

    endpoint: str
    reason: str
    template = """The RPC endpoint {endpoint} cannot be reached ({reason:clause}): check that the node runs and that the
    address is right."""


class RpcBusy(RpcUnreachable):
    """The endpoint limits requests and asks to wait for `retry_seconds`; None if it gives no time."""

    retry_seconds: float | None = None
    template = """The RPC endpoint {endpoint} limits our requests ({reason:clause}){wait}: send fewer requests, or add
    another endpoint."""

    @property
    def wait(self) -> str:
        return "" if self.retry_seconds is None else f"; it asks us to wait {self.retry_seconds:g} s"


class RpcTimeout(ChainError):
    endpoint: str
    timeout_s: float
    template = """The RPC endpoint {endpoint} did not answer within {timeout_s:g} s: try again, allow more time, or
    use another endpoint."""


class RpcRejected(ChainError):
    """The endpoint answered with a JSON-RPC error; `data` is the revert data, empty if none."""

    method: str
    code: int
    message: str
    data: bytes = b""
    template = "The node refused {method} (code {code}: {message}): check the request, or use another endpoint."

    def __post_init__(self) -> None:
        self.message = safe_text(self.message)
        super().__post_init__()


class RpcMalformed(ChainError):
    endpoint: str
    reason: str
    template = """The RPC endpoint {endpoint} sent an answer that is not JSON-RPC ({reason:clause}): check that the
    address is that of an Ethereum node."""


class WrongChain(ChainError):
    expected: int
    actual: int
    template = """The RPC endpoint serves chain {actual}, not chain {expected}: change the RPC address or the chain id
    in the settings."""


class EndpointsDisagree(ChainError):
    method: str
    first: str
    second: str
    template = """The RPC endpoints {first} and {second} disagree on {method} at the same block: find out which one is
    wrong, and remove it from the settings."""


class QuorumTooSmall(ChainError):
    needed: int
    count: int
    template = "{needed} RPC endpoints must agree and only {count} can: add endpoints, or lower rpc_quorum."


class UnknownVault(ChainError):
    vault: str
    template = "{vault} is not one of the configured vaults: add it to the settings, or check the address."


class ArtifactMissing(ChainError):
    name: str
    template = "The compiled contract {name} is missing: run `make setup` in a checkout, or reinstall the package."


class ContractMissing(ChainError):
    """An address has no code, or another contract than expected; `there` describes it, if known."""

    name: str
    address: str
    there: str = ""
    template = "No {name} is deployed at {address}{what}: check the address and the chain it belongs to."

    @property
    def what(self) -> str:
        return f", which is {self.there}" if self.there else ""


class ContractReverted(ChainError):
    """A contract reverted; `error` is its name, `values` its parameters by name, `data` the revert data."""

    error: str
    values: Mapping[str, object] = field(default_factory=dict)
    data: bytes = b""
    template = "The contract refused with {error}({numbers})."

    @property
    def numbers(self) -> str:
        return ", ".join(named_number(name, value) for name, value in self.values.items())


class BlockVanished(ChainError):
    number: int
    block_hash: str
    template = "The endpoint's chain has no block {number} ({block_hash}): use a newer block."


class TransactionNotMined(ChainError):
    transaction_hash: str
    timeout_s: float
    template = """Transaction {transaction_hash} was sent but not mined within {timeout_s:g} s: look for it on the
    chain before you send another one."""


class DeploymentMissing(ChainError):
    path: Path
    template = "There is no addresses file at {path}: start a devnet or run `rebalancer deploy`."


class DeploymentMalformed(ChainError):
    path: Path
    reason: str
    template = "The addresses file {path} cannot be used ({reason:clause}): regenerate it with `rebalancer deploy`."


class TokenNotInBasket(ChainError):
    wanted: str
    known: Sequence[str]
    template = "The vault's basket has no {wanted}: name one of its tokens, {known:list}."


class TokenNotListed(ChainError):
    wanted: str
    known: Sequence[str]
    template = """The token {wanted} is not in the addresses file, which lists {known:list}: use one of these tokens,
    or add it to the file."""


class SystemMissing(ChainError):
    names: Sequence[str]
    template = "The addresses file does not name {names:list}: run `rebalancer deploy` first."


class LaunchUnfinished(ChainError):
    deployer: str
    template = """The deployment in the addresses file is not complete: have {deployer} run `rebalancer deploy` again
    with the same options."""


class FactoryMissing(ChainError):
    chain_id: int
    factory: str
    signer: str
    cost_wei: int
    template = """Chain {chain_id} has no deterministic-deployment factory at {factory}: send {cost_wei:ether} ether
    to {signer} and submit its presigned transaction (github.com/Arachnid/deterministic-deployment-proxy), or deploy
    on another chain."""


# --- devnet: local nodes and markets -----------------------------------------------------------


class DevnetError(RebalancerError):
    """The local chain or its market could not be created or controlled."""

    exit_code = 11


class NodeBinaryMissing(DevnetError):
    binary: str
    template = """The program {binary} is not on PATH: install it (Foundry has anvil, npm has hardhat), or run `make
    setup` in a checkout."""


class NodePortBusy(DevnetError):
    port: int
    template = "Port {port} is already in use: stop the program that listens there, or choose another --port."


class NodeDied(DevnetError):
    """The local chain exited by itself; `log_tail` holds its last lines."""

    binary: str
    exit_status: int
    log_tail: str
    template = "{binary} exited with status {exit_status}: correct what its log says ({last_words:clause})."

    @property
    def last_words(self) -> str:
        return self.log_tail.strip() or "it has no output"


class NodeNotReady(DevnetError):
    binary: str
    timeout_s: float
    log_tail: str
    template = """{binary} did not answer within {timeout_s:g} s: allow more time, or correct what its log says
    ({last_words:clause})."""

    @property
    def last_words(self) -> str:
        return self.log_tail.strip() or "empty"


class BalanceNotFound(DevnetError):
    token: str
    template = "The balances of token {token} cannot be set: transfer the token from an account that holds some."


class MarketMismatch(DevnetError):
    what: str
    expected: object
    actual: object
    template = """The local market's {what} is {actual:value} and should be {expected:value}: restart the devnet; if
    this happens again, the snapshot does not describe the pool."""


class DemoFolderInUse(DevnetError):
    folder: Path
    template = "Another demo writes into {folder}: name another folder with --out, or wait until that demo ends."


class DemoFailed(DevnetError):
    what: str
    template = "The demo failed ({what}): see its record and its log."


# --- devnet: market tapes ----------------------------------------------------------------------


class TapeError(RebalancerError):
    """A market tape cannot be used."""


class TapeMissing(TapeError):
    path: str
    template = """There is no tape in {path}: give a folder with files named like eth_usd_rounds.csv, or omit the tape
    to use the synthetic market."""


class BadTape(TapeError):
    """A tape is not valid; `line` is 0 if the whole file is not valid."""

    file: str
    line: int
    why: str
    template = "The tape is invalid ({where}, {why:clause}): correct it or download it again."

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.line}" if self.line else self.file


class BadCut(TapeError):
    """A span cannot be cut out of a tape; None is the start or the end of the tape."""

    since: int | str | None
    until: int | str | None
    why: str
    template = "The tape cannot be cut from {first} to {last} ({why:clause}): choose another span."

    @property
    def first(self) -> int | str:
        return "its start" if self.since is None else self.since

    @property
    def last(self) -> int | str:
        return "its end" if self.until is None else self.until


# --- pools: quoting from a snapshot ------------------------------------------------------------


class PoolError(RebalancerError):
    """A pool cannot be read, or cannot make a trade."""

    exit_code = 12


class BadAmount(PoolError):
    amount_raw: object
    bits: int = 255
    template = """{amount_raw:value} is not an amount that can be traded: give a whole number of raw units from 1 to
    2^{bits} - 1."""


class BadPoolSnapshot(PoolError):
    """A pool's snapshot is unreadable or inconsistent; `source` is its file or address."""

    why: str
    source: str = ""
    template = "The pool snapshot{where} cannot be used ({why:clause}): correct it or read the pool again."

    @property
    def where(self) -> str:
        return f" {self.source}" if self.source else ""


class LiquidityExhausted(PoolError):
    """A pool cannot trade a whole amount; `possible_raw` is the maximum, of the same token."""

    pool: str
    token: str
    required_raw: int
    possible_raw: int
    template = """Pool {pool} can trade at most {possible_raw} raw units of {token}, not {required_raw}: trade less, or
    use another pool."""


class UnknownToken(PoolError):
    pool: str
    token_in: str
    token_out: str
    template = "Pool {pool} does not trade {token_in} for {token_out}: use a pool of that pair."


class UnsupportedPool(PoolError):
    kind: str
    template = "The pool is not supported ({kind}): use another pool of the same pair."


class PoolDiverged(PoolError):
    pool: str
    block: int
    why: str
    template = """The cached state of pool {pool} differs from the chain at block {block} ({why:clause}): the keeper
    does not trade on it until it has read it again; run `rebalancer pool retry` to do that at once, and report
    this."""


# --- lab: records of a run, and charts ------------------------------------------


class LabError(RebalancerError):
    """A record of a run, or a chart of it, cannot be used."""


class RecordsMissing(LabError):
    path: str
    template = "There is no record at {path}: give a .jsonl file that a run or a keeper wrote."


class RecordInUse(LabError):
    path: Path
    template = """Another keeper writes the record {path}: give each keeper its own keeper.record_file, or stop the
    other one."""
    exit_code = 14  # the same as for an outbox in use


class BadRecords(LabError):
    path: str
    line: int
    why: str
    template = (
        """The record {path} is invalid from line {line} on ({why:clause}): use the lines before it, or record again."""
    )


class ChartFormatUnknown(LabError):
    path: str
    template = "Cannot draw {path}: name the chart .png or .svg."


class ChartingMissing(LabError):
    template = "Charts need matplotlib: install it with pip install 'rebalancer[devnet]'."


# --- policy: refusals of the vault's rules -----------------------------------------------------


class PolicyRefused(RebalancerError):
    """The vault's policy refuses a rebalance; `error` and `numbers` are those of the contract's error."""

    error: str
    numbers: tuple[int | str, ...]
    template = "The vault's policy refuses this rebalance with {error}({numbers:list})."
    exit_code = 13


# --- keeper ------------------------------------------------------------------------------------


class KeeperError(RebalancerError):
    """The keeper stopped by itself."""

    exit_code = 20


class KeeperNotAuthorized(KeeperError):
    account: str
    vault: str
    role: str
    template = """The account {account} does not hold the role {role} of vault {vault}: ask the owner to grant it, or
    use an account that holds it."""
    exit_code = 21


class TooManyFailures(KeeperError):
    failures: int
    last: Exception
    template = """The keeper stopped after {failures} consecutive failed ticks ({last:clause}): correct the cause
    and start it again."""
    exit_code = 22


class AllChainsUnavailable(KeeperError):
    """On every chain the circuit breaker is open; `failures` holds the last failure of each, one sentence each."""

    failures: Sequence[str]
    template = """The keeper stopped because all of its {chains} chains are unavailable ({reasons:clause}): correct
    the causes and start it again."""
    exit_code = 22

    @property
    def chains(self) -> int:
        return len(self.failures)

    @property
    def reasons(self) -> str:
        return " ".join(self.failures)


class LedgerMismatch(KeeperError):
    """After a rebalance, the vault's ledger differs from the policy's prediction; raw units, in basket order."""

    vault: str
    transaction_hash: str
    expected_held: tuple[int, ...]
    actual_held: tuple[int, ...]
    template = """Vault {vault} holds {actual_held:list} raw units after {transaction_hash}, and the policy expects
    {expected_held:list}: stop, and find the cause before you trade again."""
    exit_code = 23


# --- send: keys, fees, transactions -------------------------------------------------------------


class FeeAboveCap(ChainError):
    base_fee_wei: int
    cap_wei: int
    template = """The chain's base fee is {base_fee_wei:gwei} gwei and the cap is {cap_wei:gwei} gwei: wait for a
    lower fee, or raise the cap."""


class InsufficientEther(ChainError):
    address: str
    needed_wei: int
    balance_wei: int
    template = """{address} holds {balance_wei:ether} ether and needs up to {needed_wei:ether} for this transaction:
    send it at least {missing_wei:ether} more."""

    @property
    def missing_wei(self) -> int:
        return self.needed_wei - self.balance_wei


class NonceGap(ChainError):
    transaction_hash: str
    nonce: int
    next_nonce: int
    template = """The outbox holds transaction {transaction_hash} with nonce {nonce}, and the chain's next nonce is
    {next_nonce}: if the chain was reset, start with a new outbox file."""


class ForeignPending(ChainError):
    address: str
    nonces: Sequence[int]
    template = """{address} has pending transactions that this outbox did not send (nonces {nonces:list}): stop the
    other program that uses this key, then wait until they are mined or replace them with `rebalancer tx clear`."""


class TooManyGaps(ChainError):
    """More nonces are missing below a journalled one than the keeper fills by itself; at least one is missing."""

    address: str
    nonces: Sequence[int]
    most: int
    template = """The chain lacks {count} transactions of {address} before those in the outbox (nonces {first} to
    {last}), and the keeper fills at most {most} by itself: if the chain was reset, start with a new outbox file;
    otherwise run `rebalancer tx clear`."""

    @property
    def count(self) -> int:
        return len(self.nonces)

    @property
    def first(self) -> int:
        return self.nonces[0]

    @property
    def last(self) -> int:
        return self.nonces[-1]


class NotCancellable(ChainError):
    attempt_id: int
    why: str
    template = "Attempt {attempt_id} cannot be cancelled ({why:clause}): see `rebalancer tx list`."


class SimulationRefused(ChainError):
    """The simulation of a rebalance right before signing reverted; nothing was signed."""

    refusal: ContractReverted
    template = "The simulation before signing reverted ({refusal:clause}): plan again at the latest block."


class SimulationDiffers(ChainError):
    """The simulation of a rebalance right before signing differs from its plan; `asset` is an index of the basket."""

    asset: int
    planned_raw: int
    simulated_raw: int
    template = """The simulation before signing changes asset {asset} by {simulated_raw} raw units, and the plan
    allows {planned_raw}: plan again at the latest block."""


class SendUncertain(ChainError):
    transaction_hash: str
    why: str
    template = """Transaction {transaction_hash} may or may not have been sent ({why:clause}): look for it on the chain
    before you try again."""


# --- send: signers ------------------------------------------------------------------------------


class SignerError(RebalancerError):
    """The key that signs transactions cannot be used."""

    exit_code = 15


class KeystoreNotNamed(SignerError):
    chain_id: int
    template = """No keystore is set, and chain {chain_id} is not a local chain with test accounts: set
    keeper.keystore (for your own account wallet.keystore)."""


class KeystoreMissing(SignerError):
    path: Path
    template = """There is no keystore at {path}: name an encrypted JSON keystore, such as `ape accounts generate` or
    geth creates."""


class KeystoreUnreadable(SignerError):
    path: Path
    why: str
    template = """The keystore {path} cannot be used ({why:clause}): name an encrypted JSON keystore, such as `ape
    accounts generate` or geth creates."""


class WrongPassword(SignerError):
    path: Path
    template = """The password does not open the keystore {path}: enter it again, or correct the file or the variable
    that holds it."""


class PasswordMissing(SignerError):
    why: str
    template = """There is no password for the keystore ({why:clause}): name its file in keystore_password_file, or set
    REBALANCER_KEEPER__KEYSTORE_PASSWORD (for your own account REBALANCER_WALLET__KEYSTORE_PASSWORD)."""


class DevnetKeyOnRealChain(SignerError):
    chain_id: int
    template = "The devnet's keys are public and must not sign for chain {chain_id}: use a keystore."


class SignerUnavailable(SignerError):
    endpoint: str
    why: str
    template = """The signer {endpoint} did not sign ({why:clause}): check that it runs, holds the key and allows this
    transaction."""


class SignedOtherwise(SignerError):
    """An external signer signed another transaction than requested, or with another key; nothing was sent."""

    field: str
    requested: object
    signed: object
    template = """The signer signed a different transaction ({field} is {signed:value}, not {requested:value}): do not
    use this signer until you know why; it may be broken or hostile."""


# --- send: limits of a key ----------------------------------------------------------------------


class LimitError(RebalancerError):
    """The limits of a key forbid a transaction; nothing was signed."""

    exit_code = 18


class FeeAboveLimit(LimitError):
    address: str
    offered_wei: int
    limit_wei: int
    template = """{address} may offer at most {limit_wei:gwei} gwei for gas, and this transaction offers
    {offered_wei:gwei}: wait for a lower gas price, or raise the limit."""


class SpendLimitReached(LimitError):
    address: str
    spent_wei: int
    more_wei: int
    limit_wei: int
    template = """{address} spent or reserved {spent_wei:ether} ether within 24 hours, this transaction may cost
    {more_wei:ether} more, and the limit is {limit_wei:ether}: wait, or raise the limit."""


class L1FeeUnknown(LimitError):
    chain_id: int
    why: str
    template = """The L1 data fee of chain {chain_id} cannot be read ({why:clause}), so nothing is sent: try again
    later, or use another endpoint."""


class CallNotAllowed(LimitError):
    """The limits of a key forbid the called contract or function; `selector` is empty if no function is called."""

    address: str
    to: str
    selector: str
    template = "{address} may not call {called}: if this call is intended, add it to the limits of the account."

    @property
    def called(self) -> str:
        return f"{self.selector} of {self.to}" if self.selector else f"{self.to} without a function"


class NoFreeSender(LimitError):
    """Every account that may send a transaction has the maximum number in flight."""

    vault: str
    allowed: int
    busy: int
    template = """No account is free to send for {vault} (accounts allowed: {allowed}, busy: {busy}): wait for the
    next block, or add an account."""


# --- send: the outbox ---------------------------------------------------------------------------


class OutboxError(RebalancerError):
    """The journal of sent transactions cannot be used, so nothing is sent."""

    path: Path
    exit_code = 14


class OutboxInUse(OutboxError):
    holder: str
    template = """The outbox {path} is in use by {holder}: stop that program, or give this keeper another outbox and
    another key."""


class OutboxUnreadable(OutboxError):
    why: str
    template = """The outbox {path} cannot be read ({why:clause}): check on the chain that nothing is pending, then
    move the file away."""


class OutboxMissing(OutboxError):
    template = """There is no outbox at {path}: a keeper creates it at its first start; run this command in the
    keeper's folder, or name the file in keeper.outbox_file."""


class OutboxUnwritable(OutboxError):
    why: str
    template = """The outbox {path} cannot be written ({why:clause}): free disk space or correct its permissions, then
    start again."""


class SpendingUnwritable(OutboxError):
    why: str
    template = """The daily spending of the keys cannot be kept in {path} ({why:clause}): set keeper.spending_file to
    a file that can be written."""


# --- fleet: state that machines share ------------------------------------------------------------


class FleetError(RebalancerError):
    """A machine of a fleet cannot work."""

    exit_code = 24


class SharedStateUnreachable(ChainError):
    """The fleet's Redis, which is required before sending, does not answer; `redis` is its URL without credentials."""

    redis: str
    reason: str
    template = """The fleet's Redis {redis} cannot be reached ({reason:clause}), so nothing is signed or sent: check
    that it runs and that the address is right."""
    exit_code = 24


class LeaseLost(FleetError):
    lease: str
    why: str
    template = """This machine does not hold the lease {lease} ({why:clause}), so it signs and sends nothing: start it
    again to wait for the lease, as another machine may hold it."""
    exit_code = 25


class TokenStale(FleetError):
    """The ledger refused an entry with a fencing token that is not the newest; `newest` is None if none is known."""

    lease: str
    token: int
    newest: int | None
    template = """The ledger of lease {lease} refuses token {token} ({known}), so nothing was sent: start this machine
    again to wait for the lease, as another machine holds it or Redis lost its data."""
    exit_code = 25

    @property
    def known(self) -> str:
        return "Redis knows no token" if self.newest is None else f"the newest is {self.newest}"


class LedgerUnreadable(FleetError):
    lease: str
    key: str
    why: str
    template = """The entry {key} in the ledger of lease {lease} cannot be read ({why:clause}): run one version of this
    program on all machines of the fleet, and check which other programs write to this Redis."""


class MessageUnreadable(FleetError):
    """A message of another machine is not valid; `what` is "order", "answer", or a part of one."""

    what: str
    why: str
    template = """Another machine sent an invalid {what} ({why:clause}): run one version of this program on all
    machines of the fleet, and check which other programs write to this Redis."""


# --- plan: routes and splits -------------------------------------------------------------------


class PlanError(RebalancerError):
    """A plan cannot be made from the input."""

    exit_code = 13


class BadPlanInput(PlanError):
    why: str
    template = "No plan can be made ({why:clause}): correct the input, which has one entry per asset in basket order."


class BadRoute(PlanError):
    """A route cannot be written or read; `position` is the hop when writing, the byte when reading."""

    position: int
    why: str
    template = "The route is invalid at {position} ({why:clause}): build it with rebalancer.route."


class NoRoute(PlanError):
    token_in: str
    token_out: str
    amount_raw: int
    template = """No known pools trade {amount_raw} raw units of {token_in} for {token_out}: add pools of the pair, or
    trade less."""


class DepositTooSmall(PlanError):
    token: str
    amount_raw: int
    template = "A deposit of {amount} of {token} is too small to buy one unit of every asset: deposit more."

    @property
    def amount(self) -> str:
        return counted(self.amount_raw, "raw unit")


# --- actions of people on a vault -------------------------------------------------------


class ActionError(RebalancerError):
    """A request of a person cannot be fulfilled; nothing was sent."""

    exit_code = 16


class NothingRequested(ActionError):
    what: str
    template = "The amount of {what} must be above 0: give a larger amount."


class NothingToClaim(ActionError):
    holder: str
    token: str
    template = """{holder} has no claim on {token}: check the holder and the token; `rebalancer vault position` shows
    what an account owns."""


class NothingToSend(ActionError):
    reason: str
    text: str
    template = "There is no call to send ({reason}): {text:clause}."


class NoShares(ActionError):
    holder: str
    vault: str
    template = """{holder} has no shares of {vault}: check the account and the vault; `rebalancer vault position`
    shows what an account owns."""


class NothingToDeposit(ActionError):
    account: str
    token: str
    template = "{account} has no {token} to deposit, or no more than the gas costs: send it some first."


class VaultNotNamed(ActionError):
    known: Sequence[str]
    template = "{problem}."

    @property
    def problem(self) -> str:
        if not self.known:
            return "No vault is known here: name one with --vault, or create one with `rebalancer vault create`"
        return f"{len(self.known)} vaults are known here: choose one with --vault, {', '.join(self.known)}"


class AttemptNotNamed(ActionError):
    found: Sequence[int]
    template = """It is not clear which attempt is meant (those that fit: {found:list_or_none}): give the --id of a
    pending one; `rebalancer tx list` shows them."""


class AmountUnreadable(ActionError):
    text: str
    why: str
    template = "'{text}' is not an amount: {why}."


class BalanceTooLow(ActionError):
    account: str
    token: str
    symbol: str
    decimals: int
    needed_raw: int
    balance_raw: int
    template = (
        """{account} holds {balance} {symbol} and needs {needed}: reduce the amount, or send it {missing} more."""
    )

    @property
    def balance(self) -> str:
        return _decimal(self.balance_raw, self.decimals)

    @property
    def needed(self) -> str:
        return _decimal(self.needed_raw, self.decimals)

    @property
    def missing(self) -> str:
        return _decimal(self.needed_raw - self.balance_raw, self.decimals)


class NotPermitted(ActionError):
    account: str
    function: str
    target: str
    template = """The account {account} may not call {function} of {target}: use an account with the required role, or
    have the owner grant the role."""


class TargetsDoNotSumToOne(ActionError):
    sum_e18: int
    template = """The targets add up to {sum_e18:percent} %, which is {off_e18:percent} % {side} 100 %: change one of
    them by that much."""

    @property
    def off_e18(self) -> int:
        return abs(self.sum_e18 - 10**18)

    @property
    def side(self) -> str:
        return "above" if self.sum_e18 > 10**18 else "below"


class BandOutOfRange(ActionError):
    asset: str
    band_bps: int
    minimum_bps: int
    maximum_bps: int
    template = "The band of {asset} is {band_bps} bps: give one from {minimum_bps} to {maximum_bps} bps."


class AssetCountOutOfRange(ActionError):
    """The number of assets, or of entries of a list, is out of range; `what` is the plural of the counted objects."""

    what: str
    count: int
    minimum: int
    maximum: int
    template = "There {have}: give {wanted}."

    @property
    def have(self) -> str:
        return f"is 1 {self.what.removesuffix('s')}" if self.count == 1 else f"are {self.count} {self.what}"

    @property
    def wanted(self) -> str:
        return f"{self.minimum}" if self.minimum == self.maximum else f"from {self.minimum} to {self.maximum}"


class FeeOutOfRange(ActionError):
    """A fee is above what a vault may charge; `name` is the setting's."""

    name: str
    fee_bps: int
    maximum_bps: int
    template = "{name} is {fee_bps} and may be at most {maximum_bps}: choose a lower fee."


class SeedTooSmall(ActionError):
    what: str
    amount_raw: int
    minimum_raw: int
    template = """The seed has {amount_raw} {what} and needs at least {minimum_raw}, because a part is locked for
    ever: give more, or 0 of an asset."""


class NotByContract(ActionError):
    """A contract account, such as a Safe, cannot send the transaction."""

    what: str
    instead: str
    template = "A contract account cannot send {what}: {instead}."


class NotTheClaimant(ActionError):
    account: str
    holder: str
    template = """The claim belongs to {holder}, so {account} can only have it paid to {holder}: omit --receiver, or
    use the holder's account."""


class AlreadyDeployed(ActionError):
    path: Path
    template = """{path} already names a system: use that one, name another file with --deployment, or deploy a second
    system with --redeploy."""


class LaunchOfAnother(ActionError):
    path: Path
    deployer: str
    account: str
    template = """{path} names a deployment that {deployer} started, and {account} cannot finish it: use that account,
    or start another deployment with --redeploy."""


class LaunchStopped(ActionError):
    """A launch stopped early. It has the exit code of its cause; the addresses file records the completed steps."""

    cause: RebalancerError
    done: int
    path: Path
    template = """The deployment stopped after {sent} ({cause:clause}): correct the cause, then run the same command
    again, which continues from {path}."""

    def __post_init__(self) -> None:
        self.exit_code = self.cause.exit_code
        super().__post_init__()

    @property
    def sent(self) -> str:
        return counted(self.done, "transaction")


class LaunchDiffers(ActionError):
    why: str
    template = """This account has already deployed a system that differs from the request ({why:clause}): use that
    system, or deploy another one with --redeploy."""


class AdminUnknown(ActionError):
    role: str
    address: str
    template = """The {role} {address} is neither a contract on this chain nor an account that ever had ether here:
    check the address, and deploy the contract or send the account some ether first."""


class AddressesKept(ActionError):
    path: Path
    why: str
    template = (
        """{path} is not overwritten because {why}: name another file with --deployment, or move this one away."""
    )


class SourceUnsound(ActionError):
    token: str
    why: str
    template = (
        "The second source of {token} cannot be used ({why:clause}): name another source, or wait until it agrees."
    )


class RoleNotHeld(ActionError):
    account: str
    role: str
    template = """{account} does not hold the role {role}: check the address; `rebalancer admin show` lists who holds
    it."""


class LastAdmin(ActionError):
    account: str
    template = """{account} is the only admin, and without it nobody can grant roles again: add another admin first,
    with `rebalancer admin hand-over`."""


class OperationUnknown(ActionError):
    operation: str
    known: Sequence[str]
    template = """{operation} is not the id of exactly one scheduled operation (scheduled: {known:list_or_none}): use
    an id that `rebalancer admin show` lists."""


class ArgumentsUnreadable(ActionError):
    signature: str
    why: str
    template = "The arguments do not fit {signature} ({why:clause}): give one --arg per parameter, and lists as JSON."


class FunctionUnknown(ActionError):
    contract: str
    function: str
    template = "{contract} has no function {function}: check the name, or give its signature."


class PoolUnsound(ActionError):
    pool: str
    why: str
    template = "The pool {pool} cannot be used ({why:clause}): name another pool, or omit it."


class SequencerUnwatched(ActionError):
    chain: str
    feed: str
    template = """Transactions of {chain} go through a sequencer, and prices are stale while it is down: name its
    uptime feed, which Chainlink has at {feed}, under [sequencer]."""


class FeedUnsound(ActionError):
    feed: str
    why: str
    template = "The feed {feed} cannot be used ({why:clause}): name the right feed, or wait for its answer."


# --- watch: status of a running keeper ------------------------------------------


class WatchError(RebalancerError):
    """The status of a running keeper cannot be read."""

    exit_code = 19


class ListenFailed(WatchError):
    where: str
    why: str
    template = """The keeper cannot listen at {where} ({why:clause}): stop the other keeper there, or set
    keeper.listen to another host:port or to "off"."""


class NoKeeperAnswers(WatchError):
    where: str
    why: str
    template = """No keeper answers at {where} ({why:clause}): start one with `rebalancer keeper run`, or give its
    address with --url."""
