"""The local world behaves as awkwardly as the real one: each mock has its quirk, and no other."""

from __future__ import annotations

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import ContractReverted

ALICE_KEY = "0x" + "a1" * 32
ALICE: str = Account.from_key(ALICE_KEY).address
BOB = "0x0000000000000000000000000000000000000b0b"


def balance(chain: LocalChain, token: BoundContract, holder: str) -> int:
    amount: int = token.call("balanceOf", holder)
    return amount


def give(chain: LocalChain, token: BoundContract, amount_raw: int = 1_000) -> str:
    """Mint to the first account, which the node can send from."""
    chain.transact(token, "mint", chain.accounts[0], amount_raw)
    return chain.accounts[0]


# Tokens


@pytest.mark.parametrize("decimals", [0, 6, 8, 18, 27])
def test_plain_token_moves_and_burns(chain: LocalChain, decimals: int) -> None:
    token = chain.deploy("MockToken", "Coin", "COIN", decimals)
    holder = give(chain, token)
    chain.transact(token, "transfer", BOB, 400)
    chain.transact(token, "burn", BOB, 100)

    assert token.call("decimals") == decimals
    assert (balance(chain, token, holder), balance(chain, token, BOB)) == (600, 300)
    assert token.call("totalSupply") == 900


@pytest.mark.parametrize(("mock", "version"), [("MockToken", "1"), ("BlocklistToken", "2")])
def test_permit_signed_for_the_tokens_version_is_taken_once(chain: LocalChain, mock: str, version: str) -> None:
    token = chain.deploy(mock, "Coin", "COIN", 6)
    assert token.call("version") == version
    deadline = chain.now() + 1_000

    def permit(signed_version: str) -> tuple[object, ...]:
        domain = {
            "name": "Coin",
            "version": signed_version,
            "chainId": 31337,
            "verifyingContract": token.address,
        }
        kinds = {
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ]
        }
        message = {"owner": ALICE, "spender": BOB, "value": 7, "nonce": 0, "deadline": deadline}
        signed = Account.sign_message(encode_typed_data(domain, kinds, message), ALICE_KEY)
        r, s = signed.r.to_bytes(32), signed.s.to_bytes(32)
        return ALICE, BOB, 7, deadline, signed.v, r, s

    with pytest.raises(ContractReverted, match="PermitSignerMismatch"):
        chain.transact(token, "permit", *permit("3"))
    chain.transact(token, "permit", *permit(version))
    assert token.call("allowance", ALICE, BOB) == 7
    with pytest.raises(ContractReverted, match="PermitSignerMismatch"):
        chain.transact(token, "permit", *permit(version))


def test_permit_too_late_is_refused(chain: LocalChain) -> None:
    token = chain.deploy("MockToken", "Coin", "COIN", 6)
    with pytest.raises(ContractReverted, match="PermitExpired"):
        chain.transact(token, "permit", ALICE, BOB, 7, chain.now() - 1, 27, b"\1" * 32, b"\1" * 32)


def test_paused_token_moves_for_nobody(chain: LocalChain) -> None:
    for mock in ("PausableToken", "BlocklistToken"):
        token = chain.deploy(mock, "Coin", "COIN", 8)
        give(chain, token)
        chain.transact(token, "pause")
        with pytest.raises(ContractReverted, match="TokenPaused"):
            chain.transact(token, "transfer", BOB, 1)
        chain.transact(token, "unpause")
        chain.transact(token, "transfer", BOB, 1)

        assert balance(chain, token, BOB) == 1


def test_blacklisted_holder_neither_sends_nor_receives(chain: LocalChain) -> None:
    token = chain.deploy("BlocklistToken", "Coin", "COIN", 6)
    holder = give(chain, token)
    chain.transact(token, "blacklist", BOB)
    with pytest.raises(ContractReverted, match="HolderBlacklisted") as caught:
        chain.transact(token, "transfer", BOB, 1)
    assert caught.value.values == {"holder": BOB}
    chain.transact(token, "unBlacklist", BOB)
    chain.transact(token, "transfer", BOB, 1)
    chain.transact(token, "blacklist", holder)
    with pytest.raises(ContractReverted, match="HolderBlacklisted"):
        chain.transact(token, "transfer", BOB, 1)


def test_no_return_token_moves_and_answers_nothing(chain: LocalChain) -> None:
    token = chain.deploy("NoReturnToken", "Coin", "COIN", 6)
    holder = give(chain, token)
    for function, args in (("transfer", (BOB, 1)), ("approve", (BOB, 1))):
        message = {"from": holder, "to": token.address, "data": token.data(function, *args)}
        assert chain.rpc.call("eth_call", message, "latest") == "0x"
    chain.transact(token, "approve", chain.accounts[1], 10)
    chain.transact(token, "transferFrom", holder, BOB, 10, sender=chain.accounts[1])

    assert balance(chain, token, BOB) == 10
    assert token.call("allowance", holder, chain.accounts[1]) == 0


def test_fee_token_delivers_less(chain: LocalChain) -> None:
    token = chain.deploy("FeeToken", "Coin", "COIN", 6, 100)
    holder = give(chain, token)
    chain.transact(token, "transfer", BOB, 500)

    assert (balance(chain, token, holder), balance(chain, token, BOB)) == (500, 495)
    assert token.call("totalSupply") == 995


def test_rebasing_token_grows_and_shrinks_by_itself(chain: LocalChain) -> None:
    token = chain.deploy("RebasingToken", "Coin", "COIN", 6)
    holder = give(chain, token)
    chain.transact(token, "setFactor", 2 * 10**18)
    assert balance(chain, token, holder) == 2_000
    chain.transact(token, "transfer", BOB, 500)

    assert (balance(chain, token, holder), balance(chain, token, BOB)) == (1_500, 500)
    chain.transact(token, "setFactor", 10**18 // 2)
    assert (balance(chain, token, holder), balance(chain, token, BOB)) == (375, 125)


@pytest.mark.parametrize("mock", ["RevertingToken", "GasBurnerToken", "ReturnBombToken"])
def test_broken_token_refuses_until_mended(chain: LocalChain, mock: str) -> None:
    token = chain.deploy(mock, "Coin", "COIN", 6)
    give(chain, token)
    chain.transact(token, "setBroken", True)
    with pytest.raises(ContractReverted):
        chain.transact(token, "transfer", BOB, 1, gas=5_000_000)
    chain.transact(token, "setBroken", False)
    chain.transact(token, "transfer", BOB, 1)

    assert balance(chain, token, BOB) == 1


def test_gas_burner_leaves_nothing(chain: LocalChain) -> None:
    token = chain.deploy("GasBurnerToken", "Coin", "COIN", 6)
    give(chain, token)
    chain.transact(token, "setBroken", True)
    with pytest.raises(ContractReverted):
        chain.transact(token, "transfer", BOB, 1, gas=700_000)
    (last,) = chain.block()["transactions"]
    receipt = chain.rpc.call("eth_getTransactionReceipt", last)
    assert int(receipt["gasUsed"], 16) == 700_000


def test_return_bomb_answers_with_a_megabyte(chain: LocalChain) -> None:
    token = chain.deploy("ReturnBombToken", "Coin", "COIN", 6)
    holder = give(chain, token)
    chain.transact(token, "setBroken", True)
    with pytest.raises(ContractReverted) as caught:
        token.call("transfer", BOB, 1, sender=holder)
    assert len(caught.value.data) == 1_000_000


def test_false_return_token_says_no_and_moves_nothing(chain: LocalChain) -> None:
    token = chain.deploy("FalseReturnToken", "Coin", "COIN", 6)
    holder = give(chain, token)
    chain.transact(token, "setBroken", True)

    assert token.call("transfer", BOB, 1, sender=holder) is False
    chain.transact(token, "transfer", BOB, 1)
    assert balance(chain, token, BOB) == 0


def test_callback_token_calls_the_stranger_first(chain: LocalChain) -> None:
    token = chain.deploy("CallbackToken", "Coin", "COIN", 6)
    witness = chain.deploy("MockToken", "Witness", "WIT", 6)
    give(chain, token)
    message = bytes.fromhex(witness.data("mint", BOB, 1)[2:])
    chain.transact(token, "setCallback", witness.address, message)
    chain.transact(token, "transfer", BOB, 5)
    assert balance(chain, witness, BOB) == 1

    refusing = bytes.fromhex(witness.data("burn", BOB, 99)[2:])
    chain.transact(token, "setCallback", witness.address, refusing)
    with pytest.raises(ContractReverted, match="StrangerRefused"):
        chain.transact(token, "transfer", BOB, 5)
    assert balance(chain, token, BOB) == 5


# Feeds


@pytest.fixture
def aggregator(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockAggregator", 8, "ETH / USD")


@pytest.fixture
def proxy(chain: LocalChain, aggregator: BoundContract) -> BoundContract:
    return chain.deploy("MockFeedProxy", aggregator.address, 6)


def test_feed_without_rounds_has_no_data(chain: LocalChain, proxy: BoundContract) -> None:
    with pytest.raises(ContractReverted, match="NoDataPresent"):
        proxy.call("latestRoundData")


def test_feed_counts_rounds_within_its_phase(
    chain: LocalChain, aggregator: BoundContract, proxy: BoundContract
) -> None:
    chain.transact(aggregator, "pushAt", 2_000_00000000, 111)
    chain.transact(aggregator, "push", -5)

    second = (6 << 64) + 2
    now = chain.now()
    assert proxy.call("latestRoundData") == (second, -5, now, now, second)
    first = second - 1
    round_1 = (first, 2_000_00000000, 111, 111, first)
    assert proxy.call("getRoundData", first) == round_1
    assert proxy.call("decimals") == 8
    assert proxy.call("description") == "ETH / USD"
    with pytest.raises(ContractReverted, match="NoDataPresent"):
        proxy.call("getRoundData", second + 1)


def test_feed_in_a_new_phase_keeps_the_old_rounds(
    chain: LocalChain, aggregator: BoundContract, proxy: BoundContract
) -> None:
    chain.transact(aggregator, "push", 1)
    successor = chain.deploy("MockAggregator", 18, "ETH / USD")
    chain.transact(successor, "push", 2)
    chain.transact(proxy, "setAggregator", successor.address)

    assert proxy.call("phaseId") == 7
    assert proxy.call("aggregator") == successor.address
    assert proxy.call("latestRoundData")[:2] == ((7 << 64) + 1, 2)
    assert proxy.call("getRoundData", (6 << 64) + 1)[:2] == ((6 << 64) + 1, 1)
    assert proxy.call("decimals") == 18
    with pytest.raises(ContractReverted, match="UnknownPhase"):
        proxy.call("getRoundData", (8 << 64) + 1)


def test_failing_feed_answers_nobody(chain: LocalChain, aggregator: BoundContract, proxy: BoundContract) -> None:
    chain.transact(aggregator, "push", 1)
    chain.transact(aggregator, "setFailing", True)
    with pytest.raises(ContractReverted, match="FeedFailing"):
        proxy.call("latestRoundData")
    chain.transact(aggregator, "setFailing", False)
    assert proxy.call("latestRoundData")[1] == 1
