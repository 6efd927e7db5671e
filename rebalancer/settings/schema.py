"""Schema of the settings: frozen objects with the type, bounds, default and description of each setting.

They validate and hold values; `rebalancer.settings.load` reads the sources.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

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
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = [
    "ENV_ONLY",
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

ENV_ONLY = "keystore_password"
"""Name of the settings that only the environment and .env may hold."""

LIVE: dict[str, Any] = {"live": True}
"""Mark of a setting that a running keeper applies when it reloads its settings (SIGHUP)."""

TABLES: dict[str, Any] = {"tables": True}
"""Mark of repeated TOML tables, which have no variable."""

_GWEI = 10**9


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AccountSettings(_Section):
    """A signing account: a keystore, an external signer, or on a local chain one of its test accounts."""

    keystore: FilePath | None = Field(
        default=None,
        description="Encrypted JSON keystore of the account. Without a keystore or an external signer, only "
        "chain 31337 works: `devnet_account` then signs.",
        examples=["keys/account.json"],
    )
    keystore_password: SecretStr | None = Field(
        default=None,
        description="Password of the keystore. Set it only in the environment or in .env.",
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
        description="Index of the local chain's test account that signs when no key is configured. "
        "Only on chain 31337.",
        examples=[0],
    )
    signer_url: CheckedRpcUrl | None = Field(
        default=None,
        description="JSON-RPC endpoint of an external signer that holds the key, instead of a keystore. It "
        "must support eth_signTransaction, as Clef and Web3Signer do; Web3Signer can use keys of "
        "AWS KMS and Azure Key Vault.",
        examples=["http://127.0.0.1:8550"],
    )
    signer_address: Address | None = Field(
        default=None,
        description="Account that the external signer signs with. Required only if the signer has more than "
        "one account.",
        examples=["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"],
    )
    max_fee_gwei: Decimal = Field(
        default=Decimal(200),
        gt=0,
        le=1_000_000,
        description="Maximum fee per gas of a transaction, in gwei. If the network needs more, nothing is sent.",
        examples=[200],
        json_schema_extra=LIVE,
    )

    @property
    def fee_cap_wei(self) -> int:
        """`max_fee_gwei` in wei, rounded down."""
        return int(self.max_fee_gwei * _GWEI)


class KeeperSettings(AccountSettings):
    """Keeper account and behaviour."""

    devnet_account: Int = Field(
        default=3,
        ge=0,
        lt=20,
        description="Index of the local chain's test account that signs when no key is configured. "
        "Only on chain 31337.",
        examples=[3],
    )
    poll_seconds: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="Polling interval for new blocks, in seconds.",
        examples=[2.0],
        json_schema_extra=LIVE,
    )
    max_consecutive_failures: Int = Field(
        default=5,
        ge=1,
        description="Consecutive failures before a circuit breaker opens. Failed ticks count per chain, "
        "reverted transactions and simulations per vault. A keeper of one chain stops when the "
        "chain's breaker opens; a keeper of several chains pauses that chain.",
        examples=[5],
        json_schema_extra=LIVE,
    )
    native_price_usd: Decimal | None = Field(
        default=None,
        gt=0,
        description="Price of the chain's gas token, in USD, used only if the chain's oracle does not price "
        "it. Without either price, plans ignore the cost of gas.",
        examples=[2000],
        json_schema_extra=LIVE,
    )
    receipt_timeout_seconds: float = Field(
        default=180.0,
        gt=0,
        le=86_400,
        description="How long `keeper run --once` waits for a transaction to be mined, in seconds.",
        examples=[180.0],
    )
    tick_timeout_seconds: float = Field(
        default=12.0,
        gt=0,
        le=600,
        description="Abort a tick that takes longer than this, in seconds. An aborted tick counts as a failure.",
        examples=[12.0],
        json_schema_extra=LIVE,
    )
    bump_after_blocks: Int = Field(
        default=3,
        ge=1,
        description="Replace an unmined transaction after this many blocks, raising its fee by 12.5 %, up to "
        "max_fee_gwei.",
        examples=[3],
        json_schema_extra=LIVE,
    )
    min_pending_seconds: float = Field(
        default=12.0,
        ge=0,
        le=600,
        description="Minimum time before a transaction is replaced, abandoned or sent to the public mempool, "
        "in seconds, however fast blocks are. If unset, 0 on chain 31337.",
        examples=[12.0],
        json_schema_extra=LIVE,
    )
    confirmations: Confirmations = Field(
        default=12,
        description="Confirmations required before a transaction is final: a number of blocks (at least 1), or the "
        "chain's tag `safe` or `finalized`. If unset, 1 on chain 31337.",
        examples=["safe"],
        json_schema_extra=LIVE,
    )
    max_spend_ether_per_day: Decimal = Field(
        default=Decimal(1),
        gt=0,
        description="Maximum gas cost of each keeper account in 24 hours, in ether. Pending transactions "
        "count at their maximum cost.",
        examples=[1],
        json_schema_extra=LIVE,
    )
    allowed_targets: Addresses = Field(
        default=(),
        description="Contracts that the keeper's key may call, and only with rebalance, poke or sync. Without "
        "any, the keeper's vaults. In the environment, separate them with commas.",
        examples=[["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"]],
    )
    relays: RpcUrls = Field(
        default=(),
        description="Private relays that receive the keeper's transactions instead of the public mempool. In "
        "the environment, separate them with commas.",
        examples=[["https://relay.example"]],
    )
    relay_method: Literal["eth_sendRawTransaction", "eth_sendPrivateTransaction"] = Field(
        default="eth_sendRawTransaction",
        description="JSON-RPC method that submits a transaction to the relays.",
        examples=["eth_sendRawTransaction"],
    )
    public_after_blocks: Int = Field(
        default=0,
        ge=0,
        description="Send a private transaction to the public mempool as well if it is not mined after this "
        "many blocks. 0 disables this.",
        examples=[0],
    )
    replan_blocks: Int = Field(
        default=1,
        ge=1,
        description="Interval between planning attempts for a vault that is outside its bands but for which "
        "no trades were found, in blocks.",
        examples=[1],
        json_schema_extra=LIVE,
    )
    backoff_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Initial backoff of an open circuit breaker, in seconds. It doubles each time the breaker "
        "opens again, up to 1 hour.",
        examples=[60.0],
        json_schema_extra=LIVE,
    )
    record_file: FilePath | None = Field(
        default=None,
        description="File that records every tick for `rebalancer replay`. A name that ends in .gz is "
        "compressed; %Y-%m-%d in the name starts a new file each day (UTC).",
        examples=["day-%Y-%m-%d.jsonl.gz"],
    )
    extra_accounts: tuple[AccountSettings, ...] = Field(
        default=(),
        description="Additional sending accounts, each with its own nonces.",
        json_schema_extra=TABLES,
    )
    outbox_file: FilePath = Field(
        default=Path(".rebalancer/outbox.sqlite"),
        description="Journal of the transactions that the keeper sends. Each keeper needs its own, and so "
        "does each new local chain.",
        examples=[".rebalancer/outbox.sqlite"],
    )
    spending_file: FilePath = Field(
        default=Path("~/.local/state/rebalancer/spending.sqlite"),
        description="File that records each key's spending across all journals, to enforce "
        "max_spend_ether_per_day. All keepers of a user share it.",
        examples=["~/.local/state/rebalancer/spending.sqlite"],
    )
    listen: ListenAddress = Field(
        default="127.0.0.1:9464",
        description="Address of the keeper's HTTP server (/metrics, /healthz, /readyz and /status), as "
        "host:port. `off` or empty disables the server. It has no password: anyone who can "
        "connect sees the keeper's status.",
        examples=["127.0.0.1:9464"],
    )
    allowed_hosts: HostNames = Field(
        default=(),
        description="Additional host names that the HTTP server accepts in requests, besides loopback names "
        "and the host in `listen`. It refuses all others, which protects it from DNS rebinding. "
        "In the environment, separate them with commas.",
        examples=[["keeper"]],
    )

    @property
    def listens_at(self) -> tuple[str, int] | None:
        """`listen` as host and port; None for nowhere."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None


class AlertSettings(_Section):
    """Alerts that a running keeper sends to people."""

    urls: AlertUrls = Field(
        default=(),
        description="Where alerts are sent, such as mail, chat or a pager, as Apprise URLs. They are never "
        "displayed. In the environment, separate them with commas; write a comma inside a URL as "
        "%2C.",
        examples=[["slack://tokenA/tokenB/tokenC"]],
    )
    min_severity: Literal["info", "warning", "critical"] = Field(
        default="warning",
        description="Minimum severity of the alarms that are sent. The status page shows all alarms.",
        examples=["warning"],
    )
    repeat_minutes: float = Field(
        default=240.0,
        gt=0,
        le=10_080,
        description="Interval at which a continuing alarm is sent again, in minutes.",
        examples=[240.0],
    )
    min_signer_ether: Decimal = Field(
        default=Decimal("0.05"),
        ge=0,
        description="Raise the SignerLow alarm when a signing account has less than this, in ether.",
        examples=[0.05],
    )


class FleetSettings(_Section):
    """Settings that all machines of a fleet share. Only `rebalancer fleet` reads them."""

    redis_url: CheckedRedisUrl | None = Field(
        default=None,
        description="Redis of the fleet; nothing else may use it. Without one, leader and workers run in one process.",
        examples=["redis://127.0.0.1:6379/0"],
    )
    name: str = Field(
        default="rebalancer",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Prefix of every key in Redis. Each fleet needs its own.",
        examples=["rebalancer"],
    )
    worker_name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Name of this machine in logs. If empty, the host name.",
        examples=["anna"],
    )
    lease_seconds: float = Field(
        default=15.0,
        ge=1,
        le=600,
        description="Lifetime of the leader's lease, in seconds. The leader renews it. If the leader dies, "
        "nothing is signed until the lease expires.",
        examples=[15.0],
    )
    heartbeat_seconds: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description="Interval between a worker's heartbeats, in seconds. After three missed heartbeats its "
        "vaults move to other workers.",
        examples=[2.0],
    )
    worker_timeout_seconds: float = Field(
        default=3.0,
        gt=0,
        le=300,
        description="How long the leader waits for its workers in each block, in seconds. It then assigns "
        "unfinished vaults to other workers.",
        examples=[3.0],
    )


class Settings(BaseSettings):
    """All settings. `load_settings` creates the object; it never changes afterwards."""

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
        description="Additional endpoints of the chain. The healthiest endpoint is used; the others take over "
        "if it fails. In the environment, separate them with commas.",
        examples=[["https://node.example"]],
    )
    rpc_quorum: Int = Field(
        default=1,
        ge=1,
        le=16,
        description="Number of RPC endpoints that must agree on a vault and its prices before a rebalance is sent.",
        examples=[1],
    )
    max_tip_gwei: Decimal = Field(
        default=Decimal(50),
        gt=0,
        le=1_000_000,
        description="Maximum priority fee that is accepted from an endpoint's fee history, in gwei. It limits "
        "how far one endpoint can raise the fee.",
        examples=[50],
    )
    rpc_websocket_url: CheckedWebSocketUrl | None = Field(
        default=None,
        description="WebSocket endpoint that announces new blocks. Without one, or while it is unavailable, "
        "the keeper polls for blocks.",
        examples=["ws://127.0.0.1:8545"],
    )
    chain_id: Int = Field(
        default=DEVNET_CHAIN_ID,
        ge=1,
        lt=2**63,
        description="Chain ID that the endpoint must serve. 31337 is a local chain.",
        examples=[DEVNET_CHAIN_ID],
    )
    rpc_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Timeout of one request to an endpoint, in seconds.",
        examples=[10.0],
    )
    deployment: FilePath = Field(
        default=Path("deployment.json"),
        description="Addresses file that `rebalancer deploy` and `rebalancer devnet` write.",
        examples=["deployment.json"],
    )
    vaults: Addresses = Field(
        default=(),
        description="Addresses of the vaults to manage. Without any, all in the addresses file. In the "
        "environment, separate them with commas.",
        examples=[["0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"]],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Minimum level of the messages that are logged.",
        examples=["info"],
        json_schema_extra=LIVE,
    )
    log_format: Literal["auto", "console", "logfmt", "json"] = Field(
        default="auto",
        description="Format of log lines: key=value (logfmt), json, or colored for a terminal (console). auto "
        "is console on a terminal and logfmt elsewhere.",
        examples=["auto"],
    )
    wallet: AccountSettings = Field(
        default=AccountSettings(),
        description="Account for your own commands: deploy, create, deposit, withdraw.",
    )
    keeper: KeeperSettings = Field(default=KeeperSettings(), description="Keeper account and behaviour.")
    alerts: AlertSettings = Field(default=AlertSettings(), description="Alerts that a running keeper sends.")
    fleet: FleetSettings = Field(
        default=FleetSettings(),
        description="Fleet of machines that manage the same vaults.",
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
        """Only the arguments: `load_settings` reads the other sources itself, to name the source in an error."""
        return (init_settings,)
