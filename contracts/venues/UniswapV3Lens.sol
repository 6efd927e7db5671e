// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice State of a pool of Uniswap V3 or of a fork that is read here: the part of each answer that all have in common.
interface IV3PoolState {
    /// @notice Token with the lower address.
    function token0() external view returns (address);
    /// @notice Token with the higher address.
    function token1() external view returns (address);
    /// @notice Fee in millionths of the input.
    function fee() external view returns (uint24);
    /// @notice Distance of ticks that can be initialised.
    function tickSpacing() external view returns (int24);
    /// @notice Liquidity at the present price.
    function liquidity() external view returns (uint128);
    /// @notice Present square root of the price (token1 per token0, smallest units) times 2^96, and its tick.
    function slot0() external view returns (uint160 sqrtPriceX96, int24 tick);
    /// @notice Which of 256 ticks are initialised, one bit each.
    function tickBitmap(int16 word) external view returns (uint256);
    /// @notice Liquidity of a tick; see Tick.
    function ticks(int24 tick) external view returns (uint128 gross, int128 net);
}

/// @title UniswapV3Lens
/// @notice Reads a whole pool, or the part of it around the price, in one call. Views only.
contract UniswapV3Lens {
    /// @notice An initialised tick.
    /// @param tick its index
    /// @param gross liquidity of the positions that begin or end here
    /// @param net change of the active liquidity when the price crosses it upward
    struct Tick {
        int24 tick;
        uint128 gross;
        int128 net;
    }

    /// @notice State of a pool.
    struct Pool {
        address token0;
        address token1;
        uint24 fee;
        int24 tickSpacing;
        uint160 sqrtPriceX96;
        int24 tick;
        uint128 liquidity;
        Tick[] ticks;
    }

    /// @notice Reads pools with their initialised ticks, ascending, in up to `words` bitmap words (256 spacings each) on either side of the
    /// price. 0 words: all ticks.
    function read(IV3PoolState[] calldata pools, uint256 words) external view returns (Pool[] memory list) {
        list = new Pool[](pools.length);
        for (uint256 i; i < pools.length; ++i) {
            list[i] = _read(pools[i], words);
        }
    }

    function _read(IV3PoolState pool, uint256 words) private view returns (Pool memory p) {
        p.token0 = pool.token0();
        p.token1 = pool.token1();
        p.fee = pool.fee();
        p.tickSpacing = pool.tickSpacing();
        (p.sqrtPriceX96, p.tick) = pool.slot0();
        p.liquidity = pool.liquidity();
        p.ticks = _ticks(pool, p.tick, p.tickSpacing, words);
    }

    function _ticks(IV3PoolState pool, int24 tick, int24 spacing, uint256 words)
        private
        view
        returns (Tick[] memory found)
    {
        // The ends of the tick range, 887,272 either way, in words. Division of a negative number rounds up here, so read one word more.
        int256 last = 887272 / int256(spacing) / 256 + 1;
        int256 centre = int256(tick) / spacing / 256;
        int256 from = words == 0 || centre - int256(words) < -last ? -last : centre - int256(words);
        int256 to = words == 0 || centre + int256(words) > last ? last : centre + int256(words);
        uint256[] memory maps = new uint256[](uint256(to - from + 1));
        uint256 count;
        for (int256 w = from; w <= to; ++w) {
            uint256 map = pool.tickBitmap(int16(w));
            maps[uint256(w - from)] = map;
            for (; map != 0; map &= map - 1) {
                ++count;
            }
        }
        found = new Tick[](count);
        count = 0;
        for (uint256 m; m < maps.length; ++m) {
            for (uint256 bit; bit < 256 && maps[m] >> bit != 0; ++bit) {
                if (maps[m] >> bit & 1 == 0) continue;
                int24 t = int24(((from + int256(m)) * 256 + int256(bit)) * spacing);
                (uint128 gross, int128 net) = pool.ticks(t);
                found[count++] = Tick(t, gross, net);
            }
        }
    }
}
