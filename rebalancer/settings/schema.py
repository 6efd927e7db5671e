"""Schema of the settings: frozen objects with the type, bounds, default and description of each setting.

They check values and hold them; `rebalancer.settings.load` finds the values.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rebalancer.chain.wellknown import DEVNET_CHAIN_ID
from rebalancer.environment import PREFIX
from rebalancer.settings.values import (
    Address,
    Addresses,
    AlertUrls,
    CheckedRedisUrl,
    CheckedRpcUrl,
    CheckedWebSocketUrl,
    Confirmations,
    FilePath,
    HostNames,
    Int,
    ListenAddress,
    RpcUrl,
    RpcUrls,
)

__all__ = [
    "LIVE",
    "SEPARATOR",
    "TABLES",
    "AccountSettings",
    "AlertSettings",
    "FleetSettings",
    "KeeperSettings",
    "Settings",
]

SEPARATOR = "__"
"""Between section and name in the name of a variable."""

LIVE: dict[str, Any] = {"live": True}
"""Mark of a setting that a running keeper applies when it reloads its settings (SIGHUP)."""

TABLES: dict[str, Any] = {"tables": True}
"""Mark of repeated TOML tables, which have no variable."""

_GWEI = 10**9


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AccountSettings(_Section):
    """An account that signs: `keystore`, or on a local chain one of its own test accounts."""

    keystore: FilePath | None = Field(
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
    keystore_password_file: FilePath | None = Field(
        default=None,
        description="File whose first line is the password of the keystore.",
        examples=["/run/secrets/keystore-password"],
    )
    devnet_account: Int = Field(
        default=0,
        ge=0,
        lt=20,
        description="Which of the local chain's test accounts acts where there is no keystore.",
        examples=[0],
    )
    signer_url: CheckedRpcUrl | None = Field(
        default=None,
        description="JSON-RPC endpoint of an external signer (eth_signTransaction: Clef, "
        "Web3Signer, which can sign with keys of AWS KMS or Azure Key Vault, too) that holds the key instead of a keystore.",
        examples=["http://127.0.0.1:8550"],
    )
    signer_address: Address | None = Field(
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
        json_schema_extra=LIVE,
    )

    @property
    def fee_cap_wei(self) -> int:
        """`max_fee_gwei` in wei, rounded down."""
        return int(self.max_fee_gwei * _GWEI)


class KeeperSettings(AccountSettings):
    """The keeper: its account and its temper."""

    devnet_account: Int = Field(
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
        json_schema_extra=LIVE,
    )
    max_consecutive_failures: Int = Field(
        default=5,
        ge=1,
        description="After so many failed looks in a row the keeper stops; of several chains, that one rests. So "
        "often may a vault's transactions be refused until it is left alone for a while.",
        examples=[5],
        json_schema_extra=LIVE,
    )
    native_price_usd: Decimal | None = Field(
        default=None,
        gt=0,
        description="What the token that gas is paid in is worth, in USD, where the chain's oracle does not price it; "
        "without either, gas weighs nothing in a plan.",
        examples=[2000],
        json_schema_extra=LIVE,
    )
    receipt_timeout_seconds: float = Field(
        default=180.0,
        gt=0,
        le=86_400,
        description="How long one look waits for its transaction to be mined, in seconds.",
        examples=[180.0],
    )
    tick_timeout_seconds: float = Field(
        default=12.0,
        gt=0,
        le=600,
        description="How old a block may become while it is looked at, in seconds; then the look has failed.",
        examples=[12.0],
        json_schema_extra=LIVE,
    )
    bump_after_blocks: Int = Field(
        default=3,
        ge=1,
        description="After so many blocks without it, a transaction is replaced by one that offers "
        "an eighth more, up to max_fee_gwei.",
        examples=[3],
        json_schema_extra=LIVE,
    )
    min_pending_seconds: float = Field(
        default=12.0,
        ge=0,
        le=600,
        description="However fast blocks come, no transaction is replaced, given up or shown to the public "
        "sooner, in seconds; if unset, 0 on chain 31337.",
        examples=[12.0],
        json_schema_extra=LIVE,
    )
    confirmations: Confirmations = Field(
        default=12,
        description="When a transaction is final: with so many blocks on top of its own, or once its block is at or below "
        "the chain's safe or finalized one; if unset, 1 on chain 31337.",
        examples=["safe"],
        json_schema_extra=LIVE,
    )
    max_spend_ether_per_day: Decimal = Field(
        default=Decimal(1),
        gt=0,
        description="Most that the keeper's rebalances may cost in gas within 24 hours, in ether; "
        "what is not mined yet counts at its worst.",
        examples=[1],
        json_schema_extra=LIVE,
    )
    allowed_targets: Addresses = Field(
        default=(),
        description="Contracts that the keeper's key may call, and only to rebalance, poke or sync; "
        "without any, the vaults it looks after.",
        examples=[["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"]],
    )
    relays: RpcUrls = Field(
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
    public_after_blocks: Int = Field(
        default=0,
        ge=0,
        description="After so many blocks in which the relays' builders did not take it, a "
        "transaction goes to the public as well; 0 is never.",
        examples=[0],
    )
    replan_blocks: Int = Field(
        default=1,
        ge=1,
        description="A vault whose band is broken and for which no trades are found is planned again every so many "
        "blocks.",
        examples=[1],
        json_schema_extra=LIVE,
    )
    backoff_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="How long what failed too often is left alone at first, in seconds; twice that the next time, up "
        "to an hour.",
        examples=[60.0],
        json_schema_extra=LIVE,
    )
    record_file: FilePath | None = Field(
        default=None,
        description="File to which every look is written, for `rebalancer replay`; gzipped if its name ends in .gz, "
        "and one a day (UTC) if it has %Y-%m-%d.",
        examples=["day-%Y-%m-%d.jsonl.gz"],
    )
    extra_accounts: tuple[AccountSettings, ...] = Field(
        default=(),
        description="Further accounts that send, each with nonces of its own.",
        json_schema_extra=TABLES,
    )
    outbox_file: FilePath = Field(
        default=Path(".rebalancer/outbox.sqlite"),
        description="Journal of what the keeper sends. One for each keeper, and a new one for each "
        "new local chain.",
        examples=[".rebalancer/outbox.sqlite"],
    )
    spending_file: FilePath = Field(
        default=Path("~/.local/state/rebalancer/spending.sqlite"),
        description="What each key spent within a day, so that max_spend_ether_per_day holds for it whichever outbox it sends "
        "from: one file for all keepers of a user.",
        examples=["~/.local/state/rebalancer/spending.sqlite"],
    )
    listen: ListenAddress = Field(
        default="127.0.0.1:9464",
        description="Where a running keeper serves /metrics, /healthz, /readyz and /status, as "
        "host:port; off, or empty, for nowhere. Whoever reaches it sees all that it does.",
        examples=["127.0.0.1:9464"],
    )
    allowed_hosts: HostNames = Field(
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

    urls: AlertUrls = Field(
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


class FleetSettings(_Section):
    """What the machines of a fleet have in common. Only `rebalancer fleet` looks at it."""

    redis_url: CheckedRedisUrl | None = Field(
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
    worker_timeout_seconds: float = Field(
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
        env_nested_delimiter=SEPARATOR,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    rpc_url: CheckedRpcUrl = Field(
        default=RpcUrl("http://127.0.0.1:8545"),
        description="JSON-RPC endpoint of the chain.",
        examples=["http://127.0.0.1:8545"],
    )
    more_rpc_urls: RpcUrls = Field(
        default=(),
        description="Further endpoints of the chain: the one that does best is asked, and the others where it fails; "
        "in the environment, with commas.",
        examples=[["https://node.example"]],
    )
    rpc_quorum: Int = Field(
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
    rpc_websocket_url: CheckedWebSocketUrl | None = Field(
        default=None,
        description="WebSocket endpoint that announces new blocks; without one, or while it is down, they are asked for.",
        examples=["ws://127.0.0.1:8545"],
    )
    chain_id: Int = Field(
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
    deployment: FilePath = Field(
        default=Path("deployment.json"),
        description="File of the deployed addresses, as `rebalancer deploy` and "
        "`rebalancer devnet` write it.",
        examples=["deployment.json"],
    )
    vaults: Addresses = Field(
        default=(),
        description="Addresses of the vaults to look after; in the environment, with commas.",
        examples=[["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"]],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least important messages that are logged.",
        examples=["info"],
        json_schema_extra=LIVE,
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
