"""What is this program told, and by whom?

Settings come from the command line, the environment, a `.env` file and a TOML file, in this order
of precedence, and are parsed once into a frozen object. Nothing else in the package reads the
environment. What is wrong is said in one sentence that names the setting, where it came from, and
what would be right; secrets are never shown.

In the environment a setting is REBALANCER_ and its name, sections split by two underscores:
`keeper.poll_seconds` is REBALANCER_KEEPER__POLL_SECONDS. An empty variable counts as unset.
Relative paths are relative to the folder the program runs in.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from eth_utils.address import is_checksum_address, is_hex_address
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Secret,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from rebalancer.environment import LOCK, PREFIX, is_setting
from rebalancer.errors import ConfigError
from rebalancer.files import MEGABYTE, Excess, read_text
from rebalancer.redact import endpoint_name, redis_name, socket_name
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = [
    "AccountSettings",
    "AlertSettings",
    "FleetSettings",
    "KeeperSettings",
    "PlaceUrl",
    "RpcUrl",
    "Setting",
    "Settings",
    "changed",
    "describe",
    "load_chains",
    "load_settings",
    "value_of",
]

DEFAULT_FILE = Path("rebalancer.toml")

_SPLIT = "__"
_SECTIONS = ("wallet", "keeper", "alerts", "fleet")
_ENV_ONLY = "keystore_password"
_SECRETS = (
    *(_ENV_ONLY, "rpc_url", "more_rpc_urls", "rpc_socket_url", "signer_url", "relays"),
    *("urls", "redis_url"),
)
_SHOWN_CHARACTERS = 60
_GWEI = 10**9
_PORTS = 1 << 16
_LIVE: dict[str, Any] = {"live": True}
"""Of a setting that a running keeper takes over when it is told to read its settings again."""
_TABLES: dict[str, Any] = {"tables": True}
"""Of tables that TOML repeats, which have no variable."""


class RpcUrl(Secret[str]):
    """An RPC endpoint's address, which shows neither path nor credentials: keys are kept there."""

    def _display(self) -> str:
        return endpoint_name(self.get_secret_value())


class SocketUrl(Secret[str]):
    """The same of a WebSocket endpoint."""

    def _display(self) -> str:
        return socket_name(self.get_secret_value())


class PlaceUrl(Secret[str]):
    """Where alerts go, as Apprise writes it. All but its kind may be a secret, so it shows only that."""

    def _display(self) -> str:
        return self.get_secret_value().partition("://")[0] + "://…"


def _http(url: RpcUrl) -> RpcUrl:
    shown = endpoint_name(url.get_secret_value())
    if not shown.startswith("http"):
        raise ValueError("it must start with http:// or https:// and name a host")
    return url


def _socket(url: SocketUrl) -> SocketUrl:
    if not socket_name(url.get_secret_value()).startswith("ws"):
        raise ValueError("it must start with ws:// or wss:// and name a host")
    return url


def _place(url: PlaceUrl) -> PlaceUrl:
    kind, separator, rest = url.get_secret_value().partition("://")
    if not (kind.isalnum() and separator and rest):
        raise ValueError("it must be the address of a place, kind://…, as Apprise writes them")
    return url


def _listening(text: str) -> str:
    if text.lower() in ("", "off"):
        return ""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and int(port) < _PORTS):
        raise ValueError("it must be host:port, or empty or off for no server")
    return text


def _host(text: str) -> str:
    if not text or set(text) & set("/@ *"):
        raise ValueError("it must be a host's name or address, without http:// and port")
    return text


def _confirmations(value: Any) -> Any:
    if value in ("safe", "finalized"):
        return value
    text = str(value)
    if isinstance(value, bool | float) or not (text.isascii() and text.isdecimal() and int(text)):
        raise ValueError("it must be a number of blocks from 1 on, or safe or finalized")
    return int(text)


def _listed(value: Any) -> Any:
    """A list as the environment has it: separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _address(text: str) -> str:
    if not (is_hex_address(text) and text.startswith("0x")):
        raise ValueError("it must be an address: 0x and 40 hexadecimal digits")
    if text not in (text.lower(), "0x" + text[2:].upper()) and not is_checksum_address(text):
        raise ValueError("its capital letters do not match its checksum: a character is mistyped")
    return text.lower()


def _expanded(path: Path) -> Path:
    return path.expanduser()


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a number, not true or false")  # Python counts true as 1
    return value


_Int = Annotated[int, BeforeValidator(_no_boolean)]
_Path = Annotated[Path, AfterValidator(_expanded)]
_Address = Annotated[str, AfterValidator(_address)]
_Host = Annotated[str, AfterValidator(_host)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AccountSettings(_Section):
    """An account that signs: `keystore`, or on a local chain one of its own test accounts."""

    keystore: _Path | None = Field(
        default=None,
        description="Encrypted JSON keystore of the account; without one, on chain 31337 alone, "
        "the local chain's account `devnet_account` acts.",
        examples=["keys/account.json"],
    )
    keystore_password: SecretStr | None = Field(
        default=None,
        description="Password of the keystore. Only from the environment or .env.",
        examples=["correct horse battery staple"],
    )
    keystore_password_file: _Path | None = Field(
        default=None,
        description="File whose first line is the password of the keystore.",
        examples=["/run/secrets/keystore-password"],
    )
    devnet_account: _Int = Field(
        default=0,
        ge=0,
        lt=20,
        description="Which of the local chain's test accounts acts where there is no keystore.",
        examples=[0],
    )
    signer_url: Annotated[RpcUrl, AfterValidator(_http)] | None = Field(
        default=None,
        description="JSON-RPC endpoint of an external signer (eth_signTransaction: Clef, "
        "Web3Signer, which can sign with keys of AWS KMS or Azure Key Vault, too) that holds the key instead of a keystore.",
        examples=["http://127.0.0.1:8550"],
    )
    signer_address: _Address | None = Field(
        default=None,
        description="Account that the external signer signs with; without it, the only one it has.",
        examples=["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"],
    )
    max_fee_gwei: Decimal = Field(
        default=Decimal(200),
        gt=0,
        le=1_000_000,
        description="Most that is offered for gas, in gwei; above it nothing is sent.",
        examples=[200],
        json_schema_extra=_LIVE,
    )

    @property
    def fee_cap_wei(self) -> int:
        """`max_fee_gwei` in wei, rounded down."""
        return int(self.max_fee_gwei * _GWEI)


class KeeperSettings(AccountSettings):
    """The keeper: its account and its temper."""

    devnet_account: _Int = Field(
        default=3,
        ge=0,
        lt=20,
        description="Which of the local chain's test accounts acts where there is no keystore.",
        examples=[3],
    )
    poll_seconds: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="Pause between two looks at the newest block, in seconds.",
        examples=[2.0],
        json_schema_extra=_LIVE,
    )
    max_failures_in_a_row: _Int = Field(
        default=5,
        ge=1,
        description="After so many failed looks in a row the keeper stops; of several chains, that one rests. So "
        "often may a vault's transactions be refused until it is left alone for a while.",
        examples=[5],
        json_schema_extra=_LIVE,
    )
    native_price_usd: Decimal | None = Field(
        default=None,
        gt=0,
        description="What the token that gas is paid in is worth, in USD, where the chain's oracle does not price it; "
        "without either, gas weighs nothing in a plan.",
        examples=[2000],
        json_schema_extra=_LIVE,
    )
    receipt_timeout_seconds: float = Field(
        default=180.0,
        gt=0,
        le=86_400,
        description="How long one look waits for its transaction to be mined, in seconds.",
        examples=[180.0],
    )
    look_timeout_seconds: float = Field(
        default=12.0,
        gt=0,
        le=600,
        description="How old a block may become while it is looked at, in seconds; then the look has failed.",
        examples=[12.0],
        json_schema_extra=_LIVE,
    )
    bump_after_blocks: _Int = Field(
        default=3,
        ge=1,
        description="After so many blocks without it, a transaction is replaced by one that offers "
        "an eighth more, up to max_fee_gwei.",
        examples=[3],
        json_schema_extra=_LIVE,
    )
    least_wait_seconds: float = Field(
        default=12.0,
        ge=0,
        le=600,
        description="However fast blocks come, no transaction is replaced, given up or shown to the public "
        "sooner, in seconds; if unset, 0 on chain 31337.",
        examples=[12.0],
        json_schema_extra=_LIVE,
    )
    confirmations: Annotated[
        int | Literal["safe", "finalized"], BeforeValidator(_confirmations)
    ] = Field(
        default=12,
        description="When a transaction is final: with so many blocks on top of its own, or once its block is at or below "
        "the chain's safe or finalized one; if unset, 1 on chain 31337.",
        examples=["safe"],
        json_schema_extra=_LIVE,
    )
    max_spend_ether_per_day: Decimal = Field(
        default=Decimal(1),
        gt=0,
        description="Most that the keeper's rebalances may cost in gas within 24 hours, in ether; "
        "what is not mined yet counts at its worst.",
        examples=[1],
        json_schema_extra=_LIVE,
    )
    allowed_targets: Annotated[tuple[_Address, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(),
        description="Contracts that the keeper's key may call, and only to rebalance, poke or sync; "
        "without any, the vaults it looks after.",
        examples=[["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"]],
    )
    relays: Annotated[
        tuple[Annotated[RpcUrl, AfterValidator(_http)], ...], NoDecode, BeforeValidator(_listed)
    ] = Field(
        default=(),
        description="Private relays that get the keeper's transactions instead of the public; in "
        "the environment, with commas.",
        examples=[["https://relay.example"]],
    )
    relay_method: Literal["eth_sendRawTransaction", "eth_sendPrivateTransaction"] = Field(
        default="eth_sendRawTransaction",
        description="How the relays are given a transaction.",
        examples=["eth_sendRawTransaction"],
    )
    public_after_blocks: _Int = Field(
        default=0,
        ge=0,
        description="After so many blocks in which the relays' builders did not take it, a "
        "transaction goes to the public as well; 0 is never.",
        examples=[0],
    )
    replan_blocks: _Int = Field(
        default=1,
        ge=1,
        description="A vault whose band is broken and for which no trades are found is planned again every so many "
        "blocks.",
        examples=[1],
        json_schema_extra=_LIVE,
    )
    rest_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="How long what failed too often is left alone at first, in seconds; twice that the next time, up "
        "to an hour.",
        examples=[60.0],
        json_schema_extra=_LIVE,
    )
    record: _Path | None = Field(
        default=None,
        description="File to which every look is written, for `rebalancer replay`; gzipped if its name ends in .gz, "
        "and one a day (UTC) if it has %Y-%m-%d.",
        examples=["day-%Y-%m-%d.jsonl.gz"],
    )
    lanes: tuple[AccountSettings, ...] = Field(
        default=(),
        description="Further accounts that send, each with nonces of its own.",
        json_schema_extra=_TABLES,
    )
    outbox: _Path = Field(
        default=Path(".rebalancer/outbox.sqlite"),
        description="Journal of what the keeper sends. One for each keeper, and a new one for each "
        "new local chain.",
        examples=[".rebalancer/outbox.sqlite"],
    )
    spending: _Path = Field(
        default=Path("~/.local/state/rebalancer/spending.sqlite"),
        description="What each key spent within a day, so that max_spend_ether_per_day holds for it whichever outbox it sends "
        "from: one file for all keepers of a user.",
        examples=["~/.local/state/rebalancer/spending.sqlite"],
    )
    listen: Annotated[str, AfterValidator(_listening)] = Field(
        default="127.0.0.1:9464",
        description="Where a running keeper serves /metrics, /healthz, /readyz and /status, as "
        "host:port; off, or empty, for nowhere. Whoever reaches it sees all that it does.",
        examples=["127.0.0.1:9464"],
    )
    listen_names: Annotated[tuple[_Host, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(),
        description="Further hosts by which the server may be asked for, beside loopback and the host in `listen`; in the "
        "environment, with commas. Other names are refused, so that no web page can read it.",
        examples=[["keeper"]],
    )

    @property
    def listens_at(self) -> tuple[str, int] | None:
        """`listen` as host and port; None for nowhere."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None


class AlertSettings(_Section):
    """Who is told, and of what, when a running keeper needs a person."""

    urls: Annotated[
        tuple[Annotated[PlaceUrl, AfterValidator(_place)], ...], NoDecode, BeforeValidator(_listed)
    ] = Field(
        default=(),
        description="Places that are told: mail, chat, pager, each as Apprise writes its address "
        "and none ever shown; in the environment, with commas (a comma inside one as %2C).",
        examples=[["slack://tokenA/tokenB/tokenC"]],
    )
    min_severity: Literal["info", "warning", "critical"] = Field(
        default="warning",
        description="Least severe alarms that the places are told of; all are on the status page.",
        examples=["warning"],
    )
    repeat_minutes: float = Field(
        default=240.0,
        gt=0,
        le=10_080,
        description="How often the places are told again of an alarm that lasts, in minutes.",
        examples=[240.0],
    )
    min_signer_ether: Decimal = Field(
        default=Decimal("0.05"),
        ge=0,
        description="Below so much ether, a signing account is low.",
        examples=[0.05],
    )


class RedisUrl(Secret[str]):
    """Redis's address, which shows neither credentials nor options."""

    def _display(self) -> str:
        return redis_name(self.get_secret_value())


def _redis(url: RedisUrl) -> RedisUrl:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("it must start with redis://, rediss:// or unix://")
    return url


class FleetSettings(_Section):
    """What the machines of a fleet have in common. Only `rebalancer fleet` looks at it."""

    redis_url: Annotated[RedisUrl, AfterValidator(_redis)] | None = Field(
        default=None,
        description="Redis that the fleet shares, nobody else's; without one, leader and workers are one process.",
        examples=["redis://127.0.0.1:6379/0"],
    )
    name: str = Field(
        default="rebalancer",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="What every key in Redis begins with: one name for each fleet.",
        examples=["rebalancer"],
    )
    worker_name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="What this machine is called in logs; without one, its host's name.",
        examples=["anna"],
    )
    lease_seconds: float = Field(
        default=15.0,
        ge=1,
        le=600,
        description="For how long a leader may sign without asking again: so long at most nobody signs when it dies.",
        examples=[15.0],
    )
    heartbeat_seconds: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description="How often a worker says that it is here; after three times without, its vaults go to others.",
        examples=[2.0],
    )
    answer_seconds: float = Field(
        default=3.0,
        gt=0,
        le=300,
        description="How long the leader waits for its workers at a block; then others evaluate what is missing.",
        examples=[3.0],
    )


class Settings(BaseSettings):
    """Everything that can be set. `load_settings` makes it; it never changes afterwards."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=_SPLIT,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    rpc_url: Annotated[RpcUrl, AfterValidator(_http)] = Field(
        default=RpcUrl("http://127.0.0.1:8545"),
        description="JSON-RPC endpoint of the chain.",
        examples=["http://127.0.0.1:8545"],
    )
    more_rpc_urls: Annotated[
        tuple[Annotated[RpcUrl, AfterValidator(_http)], ...], NoDecode, BeforeValidator(_listed)
    ] = Field(
        default=(),
        description="Further endpoints of the chain: the one that does best is asked, and the others where it fails; "
        "in the environment, with commas.",
        examples=[["https://node.example"]],
    )
    rpc_quorum: _Int = Field(
        default=1,
        ge=1,
        le=16,
        description="So many endpoints must say the same of a vault and its prices before it is rebalanced.",
        examples=[1],
    )
    max_tip_gwei: Decimal = Field(
        default=Decimal(50),
        gt=0,
        le=1_000_000,
        description="Most that is believed of the tips that others pay, in gwei: an endpoint that tells of more raises no offer.",
        examples=[50],
    )
    rpc_socket_url: Annotated[SocketUrl, AfterValidator(_socket)] | None = Field(
        default=None,
        description="WebSocket endpoint that announces new blocks; without one, or while it is down, they are asked for.",
        examples=["ws://127.0.0.1:8545"],
    )
    chain_id: _Int = Field(
        default=DEVNET_CHAIN_ID,
        ge=1,
        lt=2**63,
        description="Chain that the endpoint must serve; 31337 is a local one.",
        examples=[DEVNET_CHAIN_ID],
    )
    rpc_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="How long the endpoint may take to answer, in seconds.",
        examples=[10.0],
    )
    deployment: _Path = Field(
        default=Path("deployment.json"),
        description="File of the deployed addresses, as `rebalancer deploy` and "
        "`rebalancer devnet` write it.",
        examples=["deployment.json"],
    )
    vaults: Annotated[tuple[_Address, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(),
        description="Addresses of the vaults to look after; in the environment, with commas.",
        examples=[["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"]],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least important messages that are logged.",
        examples=["info"],
        json_schema_extra=_LIVE,
    )
    log_format: Literal["auto", "console", "logfmt", "json"] = Field(
        default="auto",
        description="How messages are logged: key=value (logfmt), json, or coloured for people "
        "(console); auto is console on a terminal and logfmt elsewhere.",
        examples=["auto"],
    )
    wallet: AccountSettings = Field(
        default=AccountSettings(),
        description="The account for what people do: deploy, create, deposit, withdraw.",
    )
    keeper: KeeperSettings = Field(default=KeeperSettings(), description="The keeper.")
    alerts: AlertSettings = Field(
        default=AlertSettings(), description="Who is told when the keeper needs a person."
    )
    fleet: FleetSettings = Field(
        default=FleetSettings(), description="Many machines that keep the same vaults."
    )

    @property
    def max_tip_wei(self) -> int:
        """`max_tip_gwei` in wei, rounded down."""
        return int(self.max_tip_gwei * _GWEI)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (pydantic names it)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic names it)
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic names it)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic names it)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what it is made from: `load_settings` reads the sources, to know which said what."""
        return (init_settings,)


@dataclass(frozen=True)
class Setting:
    """One setting, for people. `default` is as in TOML, empty for none; `name` is its path there.

    `live` says whether a running keeper takes a change over when it is told to read its settings again.
    """

    name: str
    variable: str
    default: str
    example: str
    description: str
    secret: bool
    live: bool = False


@dataclass(frozen=True)
class _Source:
    """What one place says. `where` follows a setting's name in a sentence."""

    where: str
    by_variable: bool
    values: Mapping[str, Any]

    def says(self, path: Sequence[str]) -> bool:
        found: Any = self.values
        for part in path:
            if not isinstance(found, Mapping) or part not in found:
                return False
            found = found[part]
        return True


def describe() -> tuple[Setting, ...]:
    """Every setting there is, in the order of the example files."""
    return tuple(_described(Settings, ()))


def load_settings(
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    env_file: Path = Path(".env"),
) -> Settings:
    """Read all sources and parse them, once.

    `file` is a TOML file that must exist; without it `rebalancer.toml` is read if there is one.
    `overrides` are what the command line says, by name (`keeper.poll_seconds`); None is unsaid.
    Of a file of several chains, the command line says by its `chain_id` which one is meant.

    Raises:
        ConfigError: something is wrong, in one sentence.
    """
    found = load_chains(file, overrides, env_file)
    if len(found) > 1:
        ids = ", ".join(str(one.chain_id) for one in found)
        why = f"the file names the chains {ids}; say by --chain-id which one is meant"
        raise ConfigError("chains", f"in {file or DEFAULT_FILE}", why)
    return found[0]


def load_chains(
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    env_file: Path = Path(".env"),
) -> tuple[Settings, ...]:
    """The settings of every chain there is, in the file's order; one where the file has no `[[chains]]`.

    What a chain's table says is above everything but the command line, whose `chain_id` chooses among them. Where a chain
    names no outbox of its own, it has one with its number beside the others'.

    Raises:
        ConfigError: something is wrong, in one sentence.
    """
    toml = _toml(file)
    values = dict(toml.values)
    tables = values.pop("chains", None)
    sources = [
        _Source("on the command line", False, _nested(overrides or {})),
        _environment(),
        _dotenv(env_file),
        _Source(toml.where, False, values),
    ]
    if tables is None:
        return (_parsed(sources),)
    if not (isinstance(tables, list) and tables and all(isinstance(one, dict) for one in tables)):
        raise ConfigError("chains", toml.where, "it must be tables: [[chains]], one a chain")
    wanted = (overrides or {}).get("chain_id")
    found: dict[int, Settings] = {}
    for table in tables:
        if "chain_id" not in table:
            raise ConfigError("chains", toml.where, "each must have its chain_id; for example 1")
        if wanted is not None and wanted != table["chain_id"]:
            continue
        here = f"under [[chains]] {toml.where}"
        _refuse_passwords(table, here)
        settings = _parsed([sources[0], _Source(here, False, table), *sources[1:]])
        if settings.chain_id in found:
            raise ConfigError("chains", toml.where, f"it names chain {settings.chain_id} twice")
        if len(tables) > 1 and "outbox" not in table.get("keeper", {}):
            path = settings.keeper.outbox
            mine = path.with_name(f"{path.stem}-{settings.chain_id}{path.suffix}")
            keeper = settings.keeper.model_copy(update={"outbox": mine})
            settings = settings.model_copy(update={"keeper": keeper})
        found[settings.chain_id] = settings
    if not found:
        ids = ", ".join(str(table["chain_id"]) for table in tables)
        raise ConfigError("chain_id", "on the command line", f"the file names the chains {ids}")
    return tuple(found.values())


def changed(before: Settings, after: Settings) -> tuple[Setting, ...]:
    """The settings in which two differ."""
    return tuple(
        setting
        for setting in describe()
        if value_of(before, setting.name) != value_of(after, setting.name)
    )


def value_of(settings: Settings, name: str) -> Any:
    """A setting's value by its name (`keeper.poll_seconds`). What is secret hides itself when it is written."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _parsed(sources: Sequence[_Source]) -> Settings:
    merged: dict[str, Any] = {}
    for source in reversed(sources):
        merged = _merge(merged, source.values)
    try:
        return Settings(**merged)
    except ValidationError as error:
        # Unchained: pydantic's own text may hold what must not be shown.
        raise _explained(error, sources) from None


def _environment() -> _Source:
    where = "in the environment"
    with LOCK:
        _refuse_unknown_variables(os.environ, where)
        return _Source(where, True, EnvSettingsSource(Settings)())


def _dotenv(path: Path) -> _Source:
    where = f"in {path}"
    if not path.is_file():
        return _Source(where, True, {})
    try:
        bindings = list(parse_stream(StringIO(read_text(path, MEGABYTE))))
    except Excess as excess:
        raise ConfigError(str(path), "", f"{excess}; mend or remove it") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(str(path), "", "it cannot be read as text; mend or remove it") from None
    for binding in bindings:
        if binding.error:
            line = f"line {binding.original.line} is not NAME=value; mend or remove it"
            raise ConfigError(str(path), "", line)
    _refuse_unknown_variables([binding.key for binding in bindings if binding.key], where)
    found = DotEnvSettingsSource(Settings, env_file=path)()
    # A .env file may also hold what other programs want to know.
    ours = {name: value for name, value in found.items() if name in Settings.model_fields}
    return _Source(where, True, ours)


def _toml(path: Path | None) -> _Source:
    asked = path is not None
    path = path or DEFAULT_FILE
    where = f"in {path}"
    try:
        values = tomllib.loads(read_text(path, MEGABYTE))
    except FileNotFoundError:
        if asked:
            raise ConfigError(str(path), "", "there is no such file; name another") from None
        return _Source(where, False, {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), "", f"it is not TOML: {error}; mend it") from None
    except Excess as excess:
        raise ConfigError(str(path), "", f"{excess}; mend or remove it") from None
    except RecursionError:
        raise ConfigError(str(path), "", "it is nested too deeply; mend or remove it") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(str(path), "", "it cannot be read as text; mend or remove it") from None
    _refuse_passwords(values, where)
    return _Source(where, False, values)


def _refuse_passwords(values: Mapping[str, Any], where: str) -> None:
    for section, content in values.items():
        if not isinstance(content, dict):
            continue
        if _ENV_ONLY in content:
            variable = _variable((section, _ENV_ONLY))
            why = f"passwords do not belong in this file; set {variable} instead"
            raise ConfigError(f"{section}.{_ENV_ONLY}", where, why)
        lanes = content.get("lanes", ())
        if isinstance(lanes, list) and any(
            isinstance(one, dict) and _ENV_ONLY in one for one in lanes
        ):
            why = "passwords do not belong in this file; name a keystore_password_file instead"
            raise ConfigError(f"{section}.lanes", where, why)


def _refuse_unknown_variables(names: Iterable[str], where: str) -> None:
    known = [setting.variable for setting in describe()]
    for name in names:
        if is_setting(name) and name.upper() not in known:
            raise ConfigError(name, where, _unknown(name.upper(), known))


def _explained(error: ValidationError, sources: Sequence[_Source]) -> ConfigError:
    """The first thing that is wrong, as a sentence."""
    wrong = error.errors(include_url=False, include_context=False)[0]
    path = [part for part in wrong["loc"] if isinstance(part, str)]
    settings = {setting.name: setting for setting in describe()}
    # Deeper parts of a location are pydantic's, such as the branch of a union.
    while len(path) > 2 or (len(path) == 2 and path[0] not in _SECTIONS):
        path.pop()
    source = next(source for source in sources if source.says(path))
    name = ".".join(path)
    if name == "keeper.lanes":
        inner = [part for part in wrong["loc"] if isinstance(part, str)][2:]
        what = wrong["msg"].removeprefix("Value error, ").replace("Input should", "it must")
        return ConfigError(".".join((name, *inner)), source.where, what)
    if wrong["type"] == "extra_forbidden":
        return ConfigError(name, source.where, _unknown(name, [*settings, *_SECTIONS]))
    if name not in settings:
        return ConfigError(name, source.where, f"it must be a section: [{name}]")
    setting = settings[name]
    problem = wrong["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    value = "" if setting.secret else f"{_shown(wrong['input'])} will not do: "
    shown_name = setting.variable if source.by_variable else name
    example = (
        setting.example.strip("[]").replace('"', "") if source.by_variable else setting.example
    )
    return ConfigError(shown_name, source.where, f"{value}{problem}; for example {example}")


def _unknown(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"the nearest is {nearest[0]}" if nearest else f"known are {', '.join(known)}"
    return f"there is no such setting; {hint}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _described(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        if isinstance(field.default, BaseModel):
            yield from _described(type(field.default), here)
            continue
        marks = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if marks == _TABLES:
            continue
        yield Setting(
            ".".join(here),
            _variable(here),
            _toml_value(field.default),
            _toml_value((field.examples or [""])[0]),
            str(field.description),
            secret=name in _SECRETS,
            live=marks == _LIVE and path != ("wallet",),
        )


def _toml_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Secret):
        value = value.get_secret_value()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(part) for part in value)}]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)


def _variable(path: Sequence[str]) -> str:
    return PREFIX + _SPLIT.join(path).upper()


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None:
            continue
        *sections, last = name.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return nested


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(under, value) if both else value  # type: ignore[arg-type]
    return merged
