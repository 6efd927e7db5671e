// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { ConfigCode } from "../../contracts/libraries/ConfigCode.sol";
import { PackedFeed, PackedFeeds } from "../../contracts/libraries/PackedFeed.sol";

/// @notice What is packed comes out again: feeds with all their bits, configurations of two assets with all theirs.
contract CodeProofs is Test {
    using ConfigCode for uint256[];

    /* PACKED FEED */

    function check_a_packed_range_is_never_wider_than_asked(uint128 least, uint128 most) public pure {
        PackedFeed f = PackedFeeds.pack(address(1), 1, 1, least, most);
        assert(f.minPriceE18() >= least);
        assert(f.maxPriceE18() <= most);
    }

    function check_a_packed_range_is_hardly_narrower(uint128 least, uint128 most) public pure {
        PackedFeed f = PackedFeeds.pack(address(1), 1, 1, least, most);
        assert(f.minPriceE18() - least <= least >> 16);
        assert(most - f.maxPriceE18() <= most >> 16);
    }

    function check_a_packed_feed_keeps_every_other_field(
        address feed,
        uint32 heartbeat,
        uint8 decimals,
        uint128 least,
        uint128 most,
        uint8 flags
    ) public pure {
        PackedFeed f = PackedFeeds.pack(feed, heartbeat, decimals, least, most);
        PackedFeed g = f.withFlags(flags);
        assert(g.feed() == feed && g.heartbeatSeconds() == heartbeat && g.feedDecimals() == decimals);
        assert(g.flags() == flags && f.flags() == 0);
        assert(g.minPriceE18() == f.minPriceE18() && g.maxPriceE18() == f.maxPriceE18());
    }

    function check_an_unranged_feed_holds_every_price(uint128 least, uint128 most, uint128 price) public pure {
        PackedFeed f = PackedFeeds.pack(address(1), 1, 1, least, most).unranged();
        assert(f.minPriceE18() == 0 && f.maxPriceE18() >= price);
    }

    /* CONFIG CODE */

    function check_a_policy_comes_out_as_it_went_in(IVaultBase.Policy memory p) public {
        IVaultBase.Config memory c;
        c.policy = p;
        c.assets = new IVaultBase.Asset[](2);
        IVaultBase.Policy memory q = _load(c).policy();
        assert(keccak256(abi.encode(p)) == keccak256(abi.encode(q)));
    }

    function check_an_asset_comes_out_as_it_went_in(
        IVaultBase.Asset memory a,
        IVaultBase.Asset memory b,
        address oracle,
        uint40 glideStart,
        uint40 glideEnd
    ) public {
        IVaultBase.Config memory c;
        c.oracle = IOracleHub(oracle);
        (c.glideStart, c.glideEnd) = (glideStart, glideEnd);
        c.assets = new IVaultBase.Asset[](2);
        (c.assets[0], c.assets[1]) = (a, b);
        uint256[] memory words = _load(c);
        assert(words.assetCount() == 2);
        assert(address(words.oracle()) == oracle);
        assert(words.glideStart() == glideStart && words.glideEnd() == glideEnd);
        _same(words.asset(0), a);
        _same(words.asset(1), b);
    }

    function _same(IVaultBase.Asset memory x, IVaultBase.Asset memory y) private pure {
        assert(x.token == y.token && x.targetE18 == y.targetE18 && x.bandBps == y.bandBps && x.decimals == y.decimals);
        assert(x.relativeBandBps == y.relativeBandBps && x.minTradeRaw == y.minTradeRaw);
        assert(x.startTargetE18 == y.startTargetE18 && x.excluded == y.excluded);
    }

    function _load(IVaultBase.Config memory c) private returns (uint256[] memory) {
        address pointer = address(0xC0DE);
        vm.etch(pointer, ConfigCode.pack(c));
        return ConfigCode.load(pointer);
    }
}
