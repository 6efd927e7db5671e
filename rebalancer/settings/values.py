"""Value types of the settings: how each is parsed and checked, and what it shows of itself.

A secret prints only what identifies it: an endpoint its scheme and host, an alert target its kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from eth_utils.address import is_checksum_address, is_hex_address
from pydantic import AfterValidator, BeforeValidator, Secret
from pydantic_settings import NoDecode

from rebalancer.chain.rpc import endpoint_name, socket_name
from rebalancer.fleet.names import redis_name

__all__ = [
    "Address",
    "Addresses",
    "AlertUrl",
    "AlertUrls",
    "CheckedRedisUrl",
    "CheckedRpcUrl",
    "CheckedWebSocketUrl",
    "Confirmations",
    "FilePath",
    "HostNames",
    "Int",
    "ListenAddress",
    "RedisUrl",
    "RpcUrl",
    "RpcUrls",
    "WebSocketUrl",
]

_PORTS = 1 << 16


class RpcUrl(Secret[str]):
    """An RPC endpoint's address, which shows neither path nor credentials: keys are kept there."""

    def _display(self) -> str:
        return endpoint_name(self.get_secret_value())


class WebSocketUrl(Secret[str]):
    """The same of a WebSocket endpoint."""

    def _display(self) -> str:
        return socket_name(self.get_secret_value())


class AlertUrl(Secret[str]):
    """Where alerts go, as Apprise writes it. All but its kind may be a secret, so it shows only that."""

    def _display(self) -> str:
        return self.get_secret_value().partition("://")[0] + "://…"


class RedisUrl(Secret[str]):
    """Redis's address, which shows neither credentials nor options."""

    def _display(self) -> str:
        return redis_name(self.get_secret_value())


def _http(url: RpcUrl) -> RpcUrl:
    shown = endpoint_name(url.get_secret_value())
    if not shown.startswith("http"):
        raise ValueError("it must start with http:// or https:// and name a host")
    return url


def _socket(url: WebSocketUrl) -> WebSocketUrl:
    if not socket_name(url.get_secret_value()).startswith("ws"):
        raise ValueError("it must start with ws:// or wss:// and name a host")
    return url


def _alert_url(url: AlertUrl) -> AlertUrl:
    kind, separator, rest = url.get_secret_value().partition("://")
    if not (kind.isalnum() and separator and rest):
        raise ValueError("it must be the address of a place, kind://…, as Apprise writes them")
    return url


def _redis(url: RedisUrl) -> RedisUrl:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("it must start with redis://, rediss:// or unix://")
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


Int = Annotated[int, BeforeValidator(_no_boolean)]
FilePath = Annotated[Path, AfterValidator(_expanded)]
Address = Annotated[str, AfterValidator(_address)]
HostName = Annotated[str, AfterValidator(_host)]
CheckedRpcUrl = Annotated[RpcUrl, AfterValidator(_http)]
CheckedWebSocketUrl = Annotated[WebSocketUrl, AfterValidator(_socket)]
CheckedAlertUrl = Annotated[AlertUrl, AfterValidator(_alert_url)]
CheckedRedisUrl = Annotated[RedisUrl, AfterValidator(_redis)]
ListenAddress = Annotated[str, AfterValidator(_listening)]
Confirmations = Annotated[int | Literal["safe", "finalized"], BeforeValidator(_confirmations)]

Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_listed)]
HostNames = Annotated[tuple[HostName, ...], NoDecode, BeforeValidator(_listed)]
RpcUrls = Annotated[tuple[CheckedRpcUrl, ...], NoDecode, BeforeValidator(_listed)]
AlertUrls = Annotated[tuple[CheckedAlertUrl, ...], NoDecode, BeforeValidator(_listed)]
