"""The book of many vaults over a lens that answers in the test: what is read, what it judges, and what is read again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain.heads import Head, Header
from rebalancer.chain.interfaces import interface
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import decode_vaults, read_block, read_vaults
from rebalancer.chain.vault_index import CacheMismatch, VaultIndex
from rebalancer.errors import BlockVanished, RpcMalformed, RpcRejected, UnknownVault
from rebalancer.reasons import Reason
from rebalancer.settlement import Asset, Basket, Policy, Price, State
from rebalancer.units import BPS, E18

LENS = "0x" + "1e" * 20
HUBS = ("0x" + "a1" * 20, "0x" + "a2" * 20)
NOW = 1_700_000_123
DAY = 86_400


def address(number: int, kind: int = 1) -> str:
    return f"0x{kind:02x}{number:038x}"


TOKENS = tuple(address(n, 9) for n in range(6))


@dataclass
class Held:
    """What a vault has of one token; distances and targets are of 1e18."""

    token: str
    decimals: int = 18
    amount: int = 0
    target: int = 0
    start: int = 0
    band: int = 200
    relative: int = 0
    excluded: int = 0
    barred: int = 0
    missing: int = 0


@dataclass
class Vault:
    """What the lens tells of one vault, as far as the book looks at it."""

    address: str
    assets: list[Held]
    hub: str = HUBS[0]
    epoch: int = 0
    rebalanced_at: int = 0
    due_since: int = 0
    paused: int = 0
    glide: tuple[int, int] = (0, 0)
    dust: int = 1
    cooldown: int = 0
    destination: int = 0
    calendar: int = 0

    def words(self) -> list[int]:
        policy = [0] * 13
        policy[4], policy[5], policy[10], policy[11] = (*(self.dust, self.cooldown, self.destination, self.calendar),)
        head = [int(self.address, 16), len(self.assets), 0, 7, self.epoch, self.rebalanced_at]
        head += [self.due_since, self.paused, *range(101, 107), *self.glide, *range(107, 111)]
        made = [*head, *policy]
        for a in self.assets:
            made += [int(a.token, 16), a.decimals, a.target, a.start, 0, a.band, a.relative, 5]
            made += [a.excluded, a.amount, 201, 202, 203, 0, *range(204, 208), a.barred, a.missing]
        return made


class Lens(Rpc):
    """A chain that has vaults, their lens and their hubs, and says which logs there were."""

    def __init__(self, *vaults: Vault) -> None:
        super().__init__("http://127.0.0.1:1")
        self.vaults = {vault.address: vault for vault in vaults}
        self.prices: dict[tuple[str, str], tuple[int, int]] = {}
        self.logs: Any = []
        self.block: Any = None
        self.batches: list[int] = []
        self.pages: list[list[str]] = []
        self.searches: list[Any] = []
        self.priced: list[tuple[str, list[str]]] = []

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.batches.append(len(calls))
        return [self._answer(method, params) for method, params in calls]

    def _answer(self, method: str, params: Any) -> Any:
        if method == "eth_getLogs":
            self.searches.append(params[0])
            return self.logs
        if method == "eth_getBlockByNumber":
            self.searches.append(params)
            return self.block
        message, _ = params
        if message["to"] == LENS:
            return self._read(message["data"])
        if message["to"] in HUBS:
            return self._prices(message["to"], message["data"])
        vault = self.vaults.get(message["to"])
        if vault is None:
            return "0x"
        return "0x" + int(vault.hub, 16).to_bytes(32).hex()

    def _read(self, data: str) -> str:
        read = interface("VaultLens").functions["read"]
        (requested,) = read.arguments(data)
        self.pages.append(list(requested))
        packed = b"".join(word.to_bytes(32) for each in requested for word in self.vaults[each].words())
        return "0x" + read.outputs.encode([packed]).hex()

    def _prices(self, hub: str, data: str) -> str:
        function = interface("OracleHub").functions["prices"]
        (requested,) = function.arguments(data)
        self.priced.append((hub, list(requested)))
        found = [self.prices.get((hub, token), (0, 1)) for token in requested]
        reported = [(price // 2, price * 2, price, fault) for price, fault in found]
        return "0x" + function.outputs.encode([reported]).hex()


def block(number: int = 100, timestamp: int = NOW) -> Block:
    return Block(number, f"0x{number:064x}", timestamp)


def book_of(lens: Lens, **settings: int) -> VaultIndex:
    index = VaultIndex(lens, LENS, list(lens.vaults), **settings)
    index.load(block())
    return index


# Judging: against the same rules in exact numbers


def exact(vault: Vault, prices: dict[tuple[str, str], tuple[int, int]]) -> dict[str, Any]:
    """What a vault is due for, by the rules as they are written down, in fractions."""
    counted = [a for a in vault.assets if not a.excluded]
    begins, ends = vault.glide
    reported = [prices.get((vault.hub, a.token), (0, 1)) for a in counted]
    values = [Fraction(a.amount * price, 10**a.decimals * E18) for a, (price, _) in zip(counted, reported, strict=True)]
    total = sum(values, Fraction(0))
    apart, beyond, to_go, near = [], Fraction(0), Fraction(0), False
    for a, value in zip(counted, values, strict=True):
        target = Fraction(a.target, E18)
        if ends > NOW:
            way = max(Fraction(0), Fraction(NOW - begins, ends - begins))
            target = Fraction(a.start, E18) + (target - Fraction(a.start, E18)) * way
        band = Fraction(a.band, BPS)
        if a.relative:
            band = min(band, max(a.relative * target / BPS, Fraction(vault.dust + 1, BPS)))
        if total:
            off = abs(value / total - target)
            apart.append(off)
            near |= off >= band
            beyond += max(off - band, Fraction(0))
            to_go += max(off - band * vault.destination / BPS, Fraction(0))
    period = vault.calendar
    called = bool(period and vault.rebalanced_at < NOW - NOW % period and to_go > Fraction(vault.dust, BPS))
    missing = any(a.missing for a in vault.assets)
    unsound = any(fault for _, fault in reported)
    if vault.paused:
        reason = Reason.PAUSED
    elif missing:
        reason = Reason.LOSS_NOT_WRITTEN_DOWN
    elif unsound:
        reason = Reason.ORACLE_FAULT
    elif not total:
        reason = Reason.TOTAL_OUT_OF_RANGE
    elif (near or called) and vault.rebalanced_at + vault.cooldown > NOW:
        reason = Reason.COOLDOWN
    elif near:
        reason = Reason.BAND_BROKEN
    else:
        reason = Reason.CALENDAR_DUE if called else Reason.IN_BAND
    is_wanted = (
        reason in (Reason.BAND_BROKEN, Reason.CALENDAR_DUE)
        or (reason is Reason.IN_BAND and vault.due_since > 0)
        or missing
        or any(a.barred for a in vault.assets)
    )
    return {
        "reason": reason,
        "total": total,
        "beyond": Fraction(0) if unsound else beyond * total,
        "drift": Fraction(0) if unsound else max(apart, default=Fraction(0)),
        "is_wanted": is_wanted,
    }


def drawn(rng: random.Random, number: int) -> Vault:
    """Any vault; its times are often the very second at which something changes."""
    count = rng.randint(1, 16) if rng.random() < 0.1 else rng.randint(2, 5)
    cuts = sorted(rng.sample(range(1, 100), count - 1))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
    worth = rng.choice([10**3, 10**6, 10**9])
    spread = rng.choice([0.0, 0.001, 0.02, 0.3])
    assets = []
    for part, token in zip(parts, (TOKENS * 3)[:count], strict=True):
        decimals = rng.choice([0, 6, 18])
        whole = worth * part / 100 * (1 + rng.uniform(-spread, spread))
        assets.append(
            Held(
                token,
                decimals,
                int(whole * 10**decimals),
                part * E18 // 100,
                rng.randint(0, 100) * E18 // 100,
                rng.randint(3, 400),
                rng.choice([0, 0, 50, 500, 9_000]),
                int(rng.random() < 0.05),
                int(rng.random() < 0.02),
                int(rng.random() < 0.02),
            )
        )
    period, cooldown = rng.choice([0, 3_600, DAY]), rng.choice([0, 600, 5_000])
    times = [0, NOW - cooldown, NOW - cooldown + 1]
    if period:
        times += [NOW - NOW % period, NOW - NOW % period - 1]
    if rng.random() < 0.05:
        for asset in assets:
            asset.amount = 0
    return Vault(
        address(number),
        assets,
        rng.choice(HUBS),
        number,
        rng.choice(times),
        rng.choice([0, 0, NOW - 50]),
        int(rng.random() < 0.05),
        rng.choice(
            [
                (0, 0),
                (NOW - 100, NOW),
                (NOW - 100, NOW + 1),
                (NOW - 50, NOW + 150),
                (NOW + 10, NOW + 90),
            ]
        ),
        rng.choice([1, 2, 20]),
        cooldown,
        rng.choice([0, 5_000, 9_999]),
        period,
    )


@pytest.mark.parametrize("seed", range(12))
def test_every_vault_is_judged_by_the_rules_in_exact_numbers(seed: int) -> None:
    rng = random.Random(seed)
    lens = Lens(*(drawn(rng, number) for number in range(1, 61)))
    for hub in HUBS:
        for token in TOKENS:
            lens.prices[hub, token] = rng.randint(95, 105) * E18 // 100, int(rng.random() < 0.02)
    index = book_of(lens, page=rng.choice([1, 7, 50]))

    judged = index.judge(block())

    expected = [exact(vault, lens.prices) for vault in lens.vaults.values()]
    assert list(judged.reasons) == [each["reason"] for each in expected]
    for name, found in (
        ("total", judged.value),
        ("beyond", judged.misallocated),
        ("drift", judged.drift),
    ):
        sound = [float(each[name]) for each in expected]
        assert found.tolist() == pytest.approx(sound, rel=1e-9, abs=1e-6 if name == "beyond" else 1e-12)
    rows = {vault: row for row, vault in enumerate(lens.vaults)}
    wanted = [vault for vault, each in zip(lens.vaults, expected, strict=True) if each["is_wanted"]]
    order = sorted(wanted, key=lambda vault: (-judged.misallocated[rows[vault]], rows[vault]))
    assert list(judged.candidates) == order
    assert index.epochs == {vault.address: vault.epoch for vault in lens.vaults.values()}


def pair_off(parts: int, band: int = 100) -> Vault:
    """Half and half, and the first so many parts of 10^12 of the whole above its half."""
    whole = 10**12
    held = [whole // 2 + parts, whole // 2 - parts]
    return Vault(
        address(1),
        [Held(TOKENS[n], 0, amount, E18 // 2, 0, band) for n, amount in enumerate(held)],
    )


@pytest.mark.parametrize(
    ("parts", "reason"),
    # A band of 1 % is 10^10 parts; a part in 10^9 of it is ten.
    [
        (10**10, Reason.BAND_BROKEN),
        (10**10 - 9, Reason.BAND_BROKEN),
        (10**10 - 11, Reason.IN_BAND),
        (0, Reason.IN_BAND),
    ],
)
def test_a_float_is_not_trusted_within_a_part_in_a_billion_of_an_edge(parts: int, reason: Reason) -> None:
    lens = Lens(pair_off(parts))
    lens.prices = {(HUBS[0], token): (E18, 0) for token in TOKENS}

    assert book_of(lens).judge(block()).reasons == (reason,)


@pytest.mark.parametrize(
    ("parts", "destination", "called"),
    [
        (5 * 10**7, 0, True),
        (5 * 10**7 - 1, 0, False),
        # Half a band of 1 %, and half of the dust on top.
        (5 * 10**9 + 5 * 10**7, 5_000, True),
        (5 * 10**9 + 5 * 10**7 - 1, 5_000, False),
    ],
)
def test_a_calendar_calls_for_more_than_dust_of_both_sides_together(parts: int, destination: int, called: bool) -> None:
    """Of a dust of 1 bp, 10^8 parts; less a part in a billion of it, which is a tenth of one."""
    vault = replace(pair_off(parts), calendar=DAY, destination=destination)
    lens = Lens(vault)
    lens.prices = {(HUBS[0], token): (E18, 0) for token in TOKENS}

    (reason,) = book_of(lens).judge(block()).reasons

    assert reason is (Reason.CALENDAR_DUE if called else Reason.IN_BAND)


def test_prices_are_asked_once_a_token_of_each_hub() -> None:
    one, two, three = (replace(pair_off(0), address=address(n)) for n in (1, 2, 3))
    three.hub = HUBS[1]
    lens = Lens(one, two, three)
    lens.prices = {
        (HUBS[0], TOKENS[0]): (3 * E18, 0),
        (HUBS[0], TOKENS[1]): (5 * E18, 4),
        (HUBS[1], TOKENS[0]): (7 * E18, 0),
    }
    index = book_of(lens)
    lens.batches.clear()

    prices, sound = index.prices(block())

    assert lens.priced == [(HUBS[0], list(TOKENS[:2])), (HUBS[1], list(TOKENS[:2]))]
    assert lens.batches == [2]
    assert prices.tolist() == [3.0, 5.0, 7.0, 0.0]
    assert sound.tolist() == [True, False, True, False]
    assert np.dtype(bool) == sound.dtype


# Reading


def many(count: int) -> Lens:
    return Lens(*(replace(pair_off(0), address=address(n)) for n in range(1, count + 1)))


def test_vaults_are_read_in_pages_of_fifty_and_hubs_five_hundred_at_once() -> None:
    lens = many(501)
    index = book_of(lens)

    assert [len(page) for page in lens.pages] == [50] * 10 + [1]
    assert lens.batches == [500, 1, *[1] * 11]
    assert index.block == block()
    assert VaultIndex(lens, LENS, []).block is None


@pytest.mark.parametrize("odd", ["0x", "refused"])
def test_an_address_that_is_no_vault_is_named(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lens = many(2)
    index = VaultIndex(lens, LENS, list(lens.vaults))
    plain = lens._answer

    def answer(method: str, params: Any) -> Any:
        if params[0].get("to") == address(2):
            return RpcRejected(method, 3, "no") if odd == "refused" else odd
        return plain(method, params)

    monkeypatch.setattr(lens, "_answer", answer)
    with pytest.raises(UnknownVault) as raised:
        index.load(block())
    assert raised.value.vault == address(2)


def test_a_vault_that_the_lens_leaves_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lens = many(3)
    read = lens._read

    def less(data: str) -> str:
        function = interface("VaultLens").functions["read"]
        whole = function.decode(read(data))
        return "0x" + function.outputs.encode([whole[: len(whole) * 2 // 3]]).hex()

    monkeypatch.setattr(lens, "_read", less)
    with pytest.raises(UnknownVault) as raised:
        book_of(lens)
    assert raised.value.vault == address(3)


def test_a_basket_that_shrinks_leaves_nothing_behind() -> None:
    vault = pair_off(10**11)
    lens = Lens(vault)
    lens.prices = {(HUBS[0], token): (E18, 0) for token in TOKENS}
    index = book_of(lens)
    assert index.judge(block()).reasons == (Reason.BAND_BROKEN,)
    lens.vaults[vault.address] = replace(vault, assets=[Held(TOKENS[2], 0, 5, E18, 0, 100)], epoch=3)
    index.load(block(101))

    judged = index.judge(block(101))

    assert (judged.reasons, judged.value.tolist()) == ((Reason.IN_BAND,), [5.0])
    assert index.epochs == {vault.address: 3}


def test_vaults_are_looked_at_in_the_order_given_and_what_is_missing_is_booked() -> None:
    lens = many(3)
    lens.prices = {(HUBS[0], token): (E18, 0) for token in TOKENS}
    index = book_of(lens)
    lens.vaults[address(2)].assets[1].missing = 1
    assert index.judge(block()).candidates == ()

    raised = address(2).upper().replace("X", "x")
    found = index.read([address(3), raised], block())

    assert [each.address for each in found] == [address(3), address(2)]
    assert [each.missing_raw for each in found] == [(0, 0), (0, 1)]
    assert index.judge(block()).candidates == (address(2),)
    lens.vaults[address(2)].assets[1].missing = 0
    index.read([address(2)], block())
    assert index.judge(block()).candidates == ()
    with pytest.raises(UnknownVault) as refused:
        index.read([address(1), address(9)], block())
    assert refused.value.vault == address(9)


def test_the_audit_goes_round_and_names_the_words_that_differ() -> None:
    lens = many(3)
    index = book_of(lens)
    lens.pages.clear()
    assert [index.audit(block(), count) for count in (2, 2, 9, 0)] == [()] * 4
    one, two, three = (address(n) for n in (1, 2, 3))
    assert lens.pages == [[one, two], [three, one], [two, three, one]]

    lens.vaults[two].epoch = 9
    lens.vaults[two].assets[1].amount += 1
    lens.vaults[three].rebalanced_at = 5
    # Of the fixed words of a head, supply and epoch and times stand first; of an asset ten, the amount ninth.
    changed = index.audit(block(101), 3)

    assert changed == (
        CacheMismatch(two, block(101), (2, 23 + 10 + 8)),
        CacheMismatch(three, block(101), (3,)),
    )
    assert index.audit(block(101), 3) == ()
    lens.vaults[one].assets.pop()
    (gone,) = index.audit(block(102), 3)
    assert gone.words == (1, *range(33, 43))
    assert VaultIndex(lens, LENS, []).audit(block(), 3) == ()


# Following the chain


def header(number: int, branch: int = 0) -> Header:
    return Header(number, f"0x{branch:02x}{number:062x}", "0x", NOW + number, 0)


def entry(number: int, vault: str, branch: int = 0) -> dict[str, str]:
    return {
        "blockNumber": hex(number),
        "blockHash": header(number, branch).hash,
        "address": vault.upper().replace("X", "x"),
    }


@dataclass
class Followed:
    """A book at block 100, and what it read since."""

    lens: Lens = field(default_factory=lambda: many(4))

    def __post_init__(self) -> None:
        self.index = book_of(self.lens)
        self.lens.pages.clear()

    def advance(self, head: Head, *logs: Any) -> list[int]:
        """Which vaults are read again; what is told is what was read."""
        self.lens.logs, self.lens.searches = list(logs), []
        self.lens.block = {"hash": head.header.hash}
        self.lens.pages.clear()
        reported = self.index.advance(head)
        assert list(reported) == [vault for page in self.lens.pages for vault in page]
        assert self.index.block == Block(head.header.number, head.header.hash, head.header.timestamp)
        return [int(vault[4:], 16) for vault in reported]


ALL = [1, 2, 3, 4]


def test_vaults_that_had_a_log_are_read_again_in_the_books_order() -> None:
    one = Followed()
    head = Head(header(101))

    again = one.advance(head, *(entry(101, address(n)) for n in (3, 1, 9, 3)))

    assert again == [1, 3]
    (requested,) = one.lens.searches
    assert requested["blockHash"] == header(101).hash
    (topics,) = requested["topics"]
    events = {event.name: topic for topic, event in interface("BasketVault").events.items()}
    assert topics == sorted(
        topic for name, topic in events.items() if name not in ("Transfer", "Approval", "EIP712DomainChanged")
    )
    assert one.advance(Head(header(102))) == []


def test_logs_of_several_blocks_are_searched_by_their_numbers_and_the_head_asked_for() -> None:
    one = Followed()

    head = Head(header(103), missed=(header(101), header(102)))
    assert one.advance(head, entry(102, address(2))) == [2]

    newest, search = one.lens.searches
    assert list(newest) == [hex(103), False]
    assert (search["fromBlock"], search["toBlock"]) == (hex(101), hex(103))


@pytest.mark.parametrize("reported", [None, {"hash": "0x0"}])
def test_a_head_that_the_endpoint_does_not_have_vanished(reported: Any) -> None:
    one = Followed()
    one.lens.block = reported
    with pytest.raises(BlockVanished) as raised:
        one.index.advance(Head(header(102), missed=(header(101),)))
    assert str(raised.value) == str(BlockVanished(102, header(102).hash))
    assert one.index.block == block()


@pytest.mark.parametrize(
    "head",
    [
        Head(header(101), linked=False),
        Head(header(102)),
        Head(header(103), missed=(header(102),)),
        Head(header(101, 1), reorged=(header(100),)),
        Head(header(101, 1), reorged=(header(99), header(101))),
    ],
    ids=["not linked", "gap", "gap before", "read at", "before"],
)
def test_what_does_not_follow_on_has_everything_read_again(head: Head) -> None:
    assert Followed().advance(head) == ALL


def test_logs_that_are_refused_or_of_another_chain_have_everything_read_again() -> None:
    one = Followed()
    one.lens.logs = RpcRejected("eth_getLogs", -32000, "no")
    one.lens.pages.clear()
    assert one.index.advance(Head(header(101))) == tuple(one.lens.vaults)
    assert Followed().advance(Head(header(101)), entry(101, address(1), 1)) == ALL
    assert Followed().advance(Head(header(101)), entry(100, address(1))) == ALL


def test_what_a_reorg_takes_back_is_read_again_and_then_forgotten() -> None:
    one = Followed()
    one.advance(Head(header(101)), entry(101, address(4)))
    one.advance(Head(header(102)), entry(102, address(2)))

    back = (header(101), header(102))
    assert one.advance(Head(header(101, 1), reorged=back), entry(101, address(1), 1)) == [
        1,
        2,
        4,
    ]
    assert one.advance(Head(header(101, 2), reorged=(header(101, 1),))) == [1]
    assert one.advance(Head(header(101, 3), reorged=(header(101, 2),))) == []


def test_what_could_not_be_read_stays_to_be_read() -> None:
    one = Followed()
    one.advance(Head(header(101)), entry(101, address(4)))
    head = Head(header(101, 1), reorged=(header(101),))
    lost = one.lens.vaults.pop(address(4))
    with pytest.raises(UnknownVault):
        one.advance(head)
    one.lens.vaults[address(4)] = lost

    assert one.advance(head) == [4]


@pytest.mark.parametrize(("later", "again"), [(255, [4]), (256, [])])
def test_who_had_a_log_is_remembered_for_as_many_blocks(later: int, again: list[int]) -> None:
    one = Followed()
    one.advance(Head(header(101)), entry(101, address(4)))
    for number in range(102, 102 + later):
        one.advance(Head(header(number)))

    assert one.advance(Head(header(101 + later, 1), reorged=(header(101),))) == again


def test_a_book_that_is_read_anew_forgets_who_had_a_log_before() -> None:
    one = Followed()
    one.advance(Head(header(101)), entry(101, address(4)))
    assert one.advance(Head(header(99, 1), linked=False)) == ALL
    for number in (100, 101):
        assert one.advance(Head(header(number, 1))) == []

    assert one.advance(Head(header(101, 2), reorged=(header(101, 1),))) == []


# What the lens tells of a vault, whole


def test_every_word_of_the_lens_is_told_by_its_name() -> None:
    """All words differ, so that none can stand in for another."""
    numbers = iter(range(1_000, 10_000))
    packed = b""
    heads, rows = [], []
    for count, number in ((2, 3), (1, 8)):
        head = [next(numbers) for _ in range(33)]
        head[1], head[2], head[7] = count, number, count - 1
        assets = [[next(numbers) for _ in range(20)] for _ in range(count)]
        for n, words in enumerate(assets):
            words[8], words[13], words[18] = n, 9 - n, 1 - n
        heads.append(head)
        rows.append(assets)
        packed += b"".join(word.to_bytes(32) for part in (head, *assets) for word in part)

    found = decode_vaults(packed, NOW)

    reasons = (Reason.COOLDOWN, Reason.PURCHASES_BARRED)
    faults = ("SecondUnsound", "GracePeriod")
    for one, head, assets, reason in zip(found, heads, rows, reasons, strict=True):
        policy = Policy(*head[20:33])
        assert one.policy == policy
        assert (one.address, one.reason) == (f"0x{head[0]:040x}", reason)
        assert one.state == State(head[8], head[9], head[5], head[6], head[4], bool(head[7]))
        assert one.basket == Basket(
            tuple(Asset(f"0x{a[0]:040x}", a[2], a[5], a[1], a[6], a[7], a[3], bool(a[8])) for a in assets),
            tuple(a[9] for a in assets),
            tuple(Price(a[10], a[11], a[12], faults[n]) for n, a in enumerate(assets)),
            head[14],
            head[15],
            NOW,
            policy.dust_bps,
            tuple(bool(a[18]) for a in assets),
        )
        assert one.total_supply == head[3]
        assert (one.loss_left_e18, one.turnover_left_e18) == (head[10], head[11])
        assert (one.slippage_limit_e18, one.opens_at) == (head[12], head[13])
        assert (one.total_e18, one.distance_e18, one.need_e18, one.drift_bps) == tuple(head[16:20])
        assert one.sales_allowed == tuple(a[17] for a in assets)
        assert one.missing_raw == tuple(a[19] for a in assets)
    assert decode_vaults(b"", NOW) == ()
    lens = Lens(pair_off(0))
    assert read_vaults(lens, LENS, [address(1)], block())[0].address == address(1)


def test_a_block_is_read_by_number_or_tag_without_its_transactions() -> None:
    lens = Lens()
    lens.block = {"number": "0x5", "hash": "0xab", "timestamp": "0x7"}
    assert read_block(lens, 5) == read_block(lens) == Block(5, "0xab", 7)
    assert [list(each) for each in lens.searches] == [["0x5", False], ["latest", False]]
    lens.block = None
    with pytest.raises(RpcMalformed) as raised:
        read_block(lens, 6)
    assert (raised.value.endpoint, raised.value.reason) == (lens.endpoint, "there is no block 6")
