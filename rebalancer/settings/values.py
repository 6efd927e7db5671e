"""Value types of the settings: how each is parsed and checked, and what it shows of itself.

A secret prints only what identifies it: an endpoint its scheme and host, an alert target its kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from eth_utils.address import is_checksum_address, is_hex_address
from pydantic import AfterValidator, BeforeValidator, Secret
from pydantic_settings import NoDecode

from rebalancer.redact import endpoint_name, redis_name, socket_name

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
    """URL of an RPC endpoint. It prints without path and credentials, which may contain keys."""

    def _display(self) -> str:
        return endpoint_name(self.get_secret_value())


class WebSocketUrl(Secret[str]):
    """URL of a WebSocket endpoint. It prints without path and credentials."""

    def _display(self) -> str:
        return socket_name(self.get_secret_value())


class AlertUrl(Secret[str]):
    """Apprise URL of an alert target. It prints only its kind, because all else may be secret."""

    def _display(self) -> str:
        return self.get_secret_value().partition("://")[0] + "://…"


class RedisUrl(Secret[str]):
    """URL of Redis. It prints without credentials and options."""

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
        raise ValueError("it must be an Apprise URL, kind://…")
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
        raise ValueError("it must be host:port, or off or empty for no server")
    return text


def _host(text: str) -> str:
    if not text or set(text) & set("/@ *"):
        raise ValueError("it must be a host name or address, without http:// and port")
    return text


def _confirmations(value: Any) -> Any:
    if value in ("safe", "finalized"):
        return value
    text = str(value)
    if isinstance(value, bool | float) or not (text.isascii() and text.isdecimal() and int(text)):
        raise ValueError("it must be a number of blocks of at least 1, or safe or finalized")
    return int(text)


def _listed(value: Any) -> Any:
    """Split a list that is separated by commas, as in the environment."""
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
