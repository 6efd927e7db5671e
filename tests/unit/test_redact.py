"""What must not be shown is taken out of any text, and nothing else is."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from pydantic import SecretStr

from rebalancer.chain.rpc import Rpc
from rebalancer.cli.logs import set_up_logs
from rebalancer.errors import RpcRejected
from rebalancer.redact import HIDDEN, Redactor
from rebalancer.settings import (
    AccountSettings,
    AlertSettings,
    AlertUrl,
    KeeperSettings,
    RpcUrl,
    Settings,
    WebSocketUrl,
)
from tests.unit.test_rpc import ScriptedServer

KEY = "Zx81kQ9vWm3P"
URL = f"https://reader:hunter22@node.example:8545/v3/{KEY}?token=aB34567890"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"asked {URL}", f"asked https://{HIDDEN}@node.example:8545{HIDDEN}"),
        (f"no project {KEY}", f"no project {HIDDEN}"),
        ("token aB34567890 expired", f"token {HIDDEN} expired"),
        ("user reader:hunter22", f"user {HIDDEN}"),
        ("wrong password hunter22!", f"wrong password {HIDDEN}!"),
        (f"/v3/{KEY}: 404", f"/v3/{HIDDEN}: 404"),
    ],
)
def test_secret_of_a_url_is_taken_out_whole_and_in_parts(text: str, clean: str) -> None:
    assert Redactor.of_url(URL)(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "https://node.example:8545",
        "v3 of the token at mainnet",
        "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor.of_url(URL)(text) == text


def test_path_of_words_is_taken_out_as_a_whole_alone() -> None:
    clean = Redactor.of_url("https://node.example/ethereum/mainnet")

    assert clean("https://node.example/ethereum/mainnet") == f"https://node.example{HIDDEN}"
    assert clean("ethereum mainnet") == "ethereum mainnet"


@pytest.mark.parametrize("word", ["mainnet", "eth-sepolia", "arbitrum_mainnet", "json-rpc"])
def test_words_of_a_path_stay(word: str) -> None:
    assert Redactor.of_url(f"https://node.example/{word}/x")(f"no {word}") == f"no {word}"


@pytest.mark.parametrize("length", range(8, 20))
@pytest.mark.parametrize("make", [str.lower, str.upper, str.title])
@pytest.mark.parametrize(
    "url",
    [
        "https://node.example/v3/{}",
        "wss://n.example/?auth={}",
        "slack://{}/b",
        "redis://:{}@n.example",
    ],
)
def test_key_of_letters_alone_is_taken_out(url: str, make: Any, length: int) -> None:
    key = make("qzkvjxwpbtmcghrfldsn"[:length])
    message = f"no project {key}."
    assert Redactor.of_url(url.format(key))(message) == f"no project {HIDDEN}."


@pytest.mark.parametrize(
    "url",
    [
        "https://reader:correct horse@node.example",
        "https://reader:correct%20horse@node.example/",
        "redis://reader:correct%20horse@redis.example:6379/0",
        "mailtos://reader:correct%20horse@mail.example",
    ],
)
def test_password_of_words_and_its_basic_form_are_taken_out(url: str) -> None:
    clean = Redactor.of_url(url)
    basic = b64encode(b"reader:correct horse").decode()

    assert basic.endswith("=")
    for message in ("correct horse", "correct%20horse"):
        assert clean(f"no {message}") == f"no {HIDDEN}"
    assert clean(f"Authorization: Basic {basic}") == f"Authorization: Basic {HIDDEN}"
    assert clean(f"Basic {basic.rstrip('=')}") == f"Basic {HIDDEN}"


@pytest.mark.parametrize("options", ["ssl_cert_reqs=none", "ssl_cert_reqs=required", "db=10"])
def test_options_of_redis_hide_no_words(options: str) -> None:
    message = "none of the required options is there; 10 tries"
    assert Redactor.of_url(f"rediss://redis.example:6380/1?{options}")(message) == message


def test_redis_keeps_its_host_and_number() -> None:
    message = "redis://redis-production.example:6379/0 is down"
    assert Redactor.of_url("redis://redis-production.example:6379/0")(message) == message
    assert Redactor.of_url("redis://:hunter22@redis.example:6379/0")("hunter22") == HIDDEN


def test_nothing_secret_leaves_every_text_as_it_is() -> None:
    assert Redactor()("a b") == "a b"
    assert Redactor.of_url("http://127.0.0.1:8545")("http://127.0.0.1:8545/") == "http://127.0.0.1:8545/"


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ('p"ss\\word', 'p"ss\\word'),
        ('p"ss\\word', json.dumps('p"ss\\word')),
        ("pässword", json.dumps("pässword")),
        ("a.b*c+d", "a.b*c+d"),
        ("https://x.example/%41%42cdefg12", "of ABcdefg12"),
    ],
)
def test_secret_is_found_however_it_is_written(secret: str, written: str) -> None:
    hidden = Redactor.of_url(secret)(written)

    assert HIDDEN in hidden
    assert secret not in hidden


def every_secret() -> tuple[Settings, list[str]]:
    """Settings in which all that can be a secret is one, and those secrets."""
    secrets = [f"s3cret{i:02}key" for i in range(9)]
    one = iter(secrets)
    return (
        Settings(
            rpc_url=RpcUrl(f"https://a.example/{next(one)}"),
            more_rpc_urls=(RpcUrl(f"https://b.example/{next(one)}"),),
            rpc_websocket_url=WebSocketUrl(f"wss://c.example/{next(one)}"),
            wallet=AccountSettings(keystore_password=SecretStr(next(one))),
            keeper=KeeperSettings(
                keystore_password=SecretStr(next(one)),
                signer_url=RpcUrl(f"https://d.example/{next(one)}"),
                relays=(RpcUrl(f"https://e.example/{next(one)}"),),
                extra_accounts=(AccountSettings(signer_url=RpcUrl(f"https://f.example/{next(one)}")),),
            ),
            alerts=AlertSettings(urls=(AlertUrl(f"tgram://{next(one)}/12"),)),
        ),
        secrets,
    )


def test_every_secret_of_the_settings_is_known() -> None:
    settings, secrets = every_secret()
    clean = Redactor.of(Settings(), settings)

    assert clean(" ".join(secrets)) == " ".join([HIDDEN] * len(secrets))
    assert clean("https://a.example tgram 12") == "https://a.example tgram 12"


# Where others' texts come in and go out


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.start()
    yield scripted
    scripted.http.shutdown()
    scripted.http.server_close()
    scripted.thread.join()


@pytest.mark.parametrize("error", [{"code": -32000, "message": f"no project {KEY}"}, f"no project {KEY}"])
def test_node_that_repeats_its_key_is_not_repeated(server: ScriptedServer, error: object) -> None:
    server.answer = lambda body: (200, json.dumps({"id": body["id"], "error": error}))
    with (
        Rpc(f"http://127.0.0.1:{server.port}/{KEY}") as rpc,
        pytest.raises(RpcRejected) as caught,
    ):
        rpc.call("eth_chainId")

    assert caught.value.message == f"no project {HIDDEN}"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("style", ["logfmt", "json", "console"])
def test_no_line_of_the_log_holds_a_secret(
    style: Literal["logfmt", "json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    settings, secrets = every_secret()
    try:
        set_up_logs(Settings(log_format=style), settings)
        log = structlog.get_logger("test")
        for secret in secrets:
            log.warning(secret, why=f"at /{secret}", inside={"deep": [secret]}, raw=secret.encode())
            try:
                raise ValueError(secret)
            except ValueError:
                log.exception("failed")
    finally:
        structlog.reset_defaults()
    message = capsys.readouterr().err

    assert len(message.splitlines()) >= 2 * len(secrets)
    assert [secret for secret in secrets if secret in message] == []
    assert HIDDEN in message


def test_log_of_this_test_would_hold_them_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    _, (secret, *_) = every_secret()
    try:
        set_up_logs(Settings(log_format="logfmt"))
        structlog.get_logger("test").warning("asked", why=secret)
    finally:
        structlog.reset_defaults()

    assert secret in capsys.readouterr().err
