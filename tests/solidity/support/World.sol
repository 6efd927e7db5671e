// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IBasketVault, IVaultBase, IVaultCore } from "../../../contracts/interfaces/IBasketVault.sol";
import { RevertingToken } from "../../../contracts/mocks/AwkwardTokens.sol";
import { MockAggregator } from "../../../contracts/mocks/MockAggregator.sol";
import { LocalToken, MockToken } from "../../../contracts/mocks/MockToken.sol";
import { ScriptedExecutor } from "./ScriptedExecutor.sol";

/// @title World
/// @notice Everybody around one vault: holders, an honest and a hostile keeper, the market, the owner and the curator, and time. Each
/// external function is one thing one of them does. After each, the world measures by itself, with arithmetic of its own, whether
/// a promise was broken, and remembers the first way in which it was.
contract World is Test {
    /// @notice What may never happen. See ../shared/design.md, Promises.
    enum Promise {
        Exit, // A: a redemption was refused or paid wrongly
        BoundedLoss, // B: a rebalance lost more than slippage or budgets allow, or ran while no band was broken
        TowardTarget, // C: a rebalance moved something it must not move
        InertGifts, // E: a gift changed what shares are worth
        KeptValue, // anything else made a share a claim on less
        HonestKeeper // a rebalance within all rules was refused
    }

    struct Counts {
        uint256 deposits;
        uint256 depositsRefused;
        uint256 redemptions;
        uint256 claimsOpened;
        uint256 claimsPaid;
        uint256 gifts;
        uint256 giftsAbsorbed;
        uint256 honestTrades;
        uint256 honestWaits;
        uint256 hostileTrades;
        uint256 hostileRefusals;
        uint256 targetsSet;
        uint256 policiesSet;
        uint256 pauses;
        uint256 feedsBroken;
        uint256 tokensBroken;
    }

    /// @notice What can be seen of the vault at one moment.
    struct Sight {
        uint256[] held;
        uint256[] pricesE18;
        uint256[] valuesE18;
        int256[] distancesE18;
        uint256 distanceE18;
        uint256 totalE18;
        uint256 supply;
        int256[] unbooked;
    }

    uint256 internal constant E18 = 1e18;
    uint256 internal constant BPS = 10_000;

    IBasketVault public immutable VAULT;
    ScriptedExecutor internal immutable EXECUTOR = new ScriptedExecutor();
    address internal immutable OWNER;
    address internal immutable CURATOR;
    address internal immutable GUARDIAN;
    address internal immutable KEEPER;

    address[] internal _holders;
    MockToken[] internal _tokens;
    MockAggregator[] internal _feeds;
    int192[] internal _answersE8;
    int192[] internal _firstAnswersE8;
    /// The one token that can refuse to move, by position.
    uint256 internal immutable FRAGILE;

    Counts internal _counts;
    /// Why the last rebalance was refused: shown by `forge test -vvvv`, and asked for while looking into a failure.
    bytes public lastRefusal;
    mapping(Promise => string) internal _broken;

    /// Losses since the policy last changed.
    uint256[] internal _lossesE18;
    uint256[] internal _lossTimes;

    constructor(
        IBasketVault vault,
        address[4] memory roles,
        address[] memory holders,
        MockToken[] memory tokens,
        MockAggregator[] memory feeds,
        uint256 fragile
    ) {
        VAULT = vault;
        (OWNER, CURATOR, GUARDIAN, KEEPER) = (roles[0], roles[1], roles[2], roles[3]);
        _holders = holders;
        _tokens = tokens;
        _feeds = feeds;
        FRAGILE = fragile;
        for (uint256 i; i < feeds.length; ++i) {
            (, int256 answer,,,) = feeds[i].latestRoundData();
            _answersE8.push(int192(answer));
            _firstAnswersE8.push(int192(answer));
        }
    }

    /* HOLDERS */

    function deposit(uint256 holderSeed, uint256 shares) external {
        address holder = _holder(holderSeed);
        shares = _clamp(shares, 1, 50e18);
        Sight memory before = _look();
        uint256[] memory amounts = VAULT.previewMintInKind(shares);
        for (uint256 i; i < amounts.length; ++i) {
            _tokens[i].mint(holder, amounts[i]);
            vm.prank(holder);
            _tokens[i].approve(address(VAULT), amounts[i]);
        }

        vm.prank(holder);
        try VAULT.mintInKind(shares, holder, amounts) {
            ++_counts.deposits;
        } catch {
            ++_counts.depositsRefused;
            if (!_fragile().broken()) _note(Promise.KeptValue, "a sound deposit was refused");
        }

        _checkKept(before, "deposit");
    }

    function redeem(uint256 holderSeed, uint256 shares) external {
        address holder = _holder(holderSeed);
        uint256 balance = VAULT.balanceOf(holder);
        if (balance == 0) return;
        shares = _clamp(shares, 1, balance);
        Sight memory before = _look();

        vm.prank(holder);
        try VAULT.redeemInKind(shares, holder, holder, new uint256[](_tokens.length)) {
            ++_counts.redemptions;
            if (_fragile().broken()) ++_counts.claimsOpened;
        } catch {
            _note(Promise.Exit, "a redemption was refused");
        }

        _checkKept(before, "redeem");
    }

    /// @notice A holder leaves and takes only a part of the assets along; the rest becomes a claim.
    function redeemExcept(uint256 holderSeed, uint256 shares, uint256 skipped) external {
        address holder = _holder(holderSeed);
        uint256 balance = VAULT.balanceOf(holder);
        if (balance == 0) return;
        shares = _clamp(shares, 1, balance);
        Sight memory before = _look();

        vm.prank(holder);
        try VAULT.redeemInKindExcept(shares, holder, holder, new uint256[](_tokens.length), skipped) {
            ++_counts.redemptions;
            ++_counts.claimsOpened;
        } catch {
            _note(Promise.Exit, "a redemption without some assets was refused");
        }

        _checkKept(before, "redeemExcept");
    }

    /// @notice The next holder with a claim on the asset collects it, once the token can move again.
    function claim(uint256 holderSeed, uint256 asset) external {
        _fragile().setBroken(false);
        MockToken token = _tokens[asset % _tokens.length];
        address holder;
        uint256 amount;
        for (uint256 i; i < _holders.length && amount == 0; ++i) {
            holder = _holders[(holderSeed % _holders.length + i) % _holders.length];
            amount = VAULT.claimable(holder, address(token));
        }
        if (amount == 0) return;
        Sight memory before = _look();
        uint256 balance = token.balanceOf(holder);

        vm.prank(holder);
        try VAULT.claim(address(token), holder) {
            ++_counts.claimsPaid;
        } catch {
            _note(Promise.Exit, "a claim was refused");
        }

        if (token.balanceOf(holder) != balance + amount) _note(Promise.Exit, "a claim was not paid whole");
        _checkKept(before, "claim");
    }

    function transferShares(uint256 fromSeed, uint256 toSeed, uint256 shares) external {
        address from = _holder(fromSeed);
        Sight memory before = _look();

        shares = _clamp(shares, 0, VAULT.balanceOf(from));
        vm.prank(from);
        VAULT.transfer(_holder(toSeed), shares);

        _checkKept(before, "transfer");
    }

    function give(uint256 asset, uint256 amount) external {
        asset = _clamp(asset, 0, _tokens.length - 1);
        Sight memory before = _look();
        uint256[] memory part = VAULT.previewRedeemInKind(1e18);

        _tokens[asset].mint(address(VAULT), _clamp(amount, 1, 10 * 10 ** _tokens[asset].decimals()));
        ++_counts.gifts;

        Sight memory after_ = _look();
        before.unbooked = after_.unbooked;
        if (keccak256(abi.encode(before)) != keccak256(abi.encode(after_))) _note(Promise.InertGifts, "a gift counts");
        if (keccak256(abi.encode(part)) != keccak256(abi.encode(VAULT.previewRedeemInKind(1e18)))) {
            _note(Promise.InertGifts, "a gift is paid out");
        }
    }

    /// @notice Nothing is ever lost here, so there is nothing to write down, however much somebody would like to.
    function sync(uint256 asset) external {
        Sight memory before = _look();
        try VAULT.sync(asset % _tokens.length) {
            _note(Promise.KeptValue, "a loss that did not happen was written down");
        } catch { }
        _checkKept(before, "sync");
    }

    /// @notice The owner takes a part of a gift into the ledger: exactly that much, from the gift alone.
    function absorb(uint256 asset, uint256 amount) external {
        asset = asset % _tokens.length;
        Sight memory before = _look();
        if (before.unbooked[asset] <= 0) return;
        amount = _clamp(amount, 1, uint256(before.unbooked[asset]));

        vm.prank(OWNER);
        VAULT.absorb(asset, amount);
        ++_counts.giftsAbsorbed;

        before.held[asset] += amount;
        before.unbooked[asset] -= int256(amount);
        Sight memory after_ = _look();
        if (keccak256(abi.encode(before.held, before.unbooked)) != keccak256(abi.encode(after_.held, after_.unbooked)))
        {
            _note(Promise.InertGifts, "absorbed something else");
        }
    }

    function collectFee() external {
        Sight memory before = _look();
        VAULT.collectFee();
        _checkKept(before, "collectFee");
    }

    function poke() external {
        Sight memory before = _look();
        try VAULT.poke() { } catch { }
        _checkKept(before, "poke");
    }

    /* KEEPERS */

    /// @notice Moves a price far if nothing is broken, waits as long as it must, and trades well inside every rule. That must work.
    function tradeHonestly(uint256 asset, uint256 moveBps, uint256 lossBps) external {
        _prepareTrade(asset, moveBps);
        IBasketVault.Policy memory p = VAULT.policy();
        Sight memory s = _look();
        (uint256[] memory sales, uint256 soldE18, uint256 partBps) = _affordableSales(s, p);
        // Of less than a dollar, rounding to whole units decides what can be traded.
        if (!_isBroken(s) || partBps < p.minProgressBps + 100 || soldE18 < 1e18) {
            ++_counts.honestWaits;
            vm.warp(block.timestamp + p.turnoverPeriodSeconds);
            return;
        }

        uint256 keptBps = BPS - _clamp(lossBps, 0, p.startSlippageBps - 2);
        uint256[] memory buys = _buys(s, soldE18 * keptBps / BPS);
        if (_rebalance(sales, buys, _bring(buys))) ++_counts.honestTrades;
        else if (_fitsLossBudget(s, p, soldE18, keptBps)) _note(Promise.HonestKeeper, "a fair trade was refused");
    }

    /// @dev Makes a trade possible: all that is broken is mended, a weight leaves its band, and the cooldown is over.
    function _prepareTrade(uint256 asset, uint256 moveBps) internal {
        _fragile().setBroken(false);
        vm.prank(OWNER);
        VAULT.resumeRebalance();
        if (!_isBroken(_look())) movePrice(asset, moveBps < type(uint256).max / 2 ? 13_000 : 7_500);
        uint256 openAt = uint256(VAULT.state().rebalancedAt) + VAULT.policy().cooldownSeconds;
        if (block.timestamp < openAt) vm.warp(openAt);
        _refresh();
    }

    /// @notice Any sales, any purchases, any executor. Whatever it gets through must still keep the promises.
    function tradeHostilely(uint256 seed, uint256 saleBps, uint256 valueBps) external {
        if (_roll(seed, 200) % 4 != 0) _prepareTrade(seed, _roll(seed, 201) << 8);
        if (_roll(seed, 202) % 2 == 0) try VAULT.poke() { } catch { }
        if (_roll(seed, 203) % 2 == 0) vm.warp(block.timestamp + 50 minutes); // up the ramp
        Sight memory s = _look();
        uint256[] memory sales = new uint256[](_tokens.length);
        uint256[] memory asked = new uint256[](_tokens.length);
        uint256 soldE18;
        for (uint256 i; i < sales.length; ++i) {
            // Mostly what may be sold, sometimes more, sometimes what may not be sold at all.
            uint256 surplus = s.distancesE18[i] > 0 ? uint256(s.distancesE18[i]) * _unit(i) / s.pricesE18[i] : 0;
            if (_roll(seed, i) % 16 == 0) surplus = s.held[i] / 7;
            sales[i] = surplus * _clamp(saleBps, 3_000, 10_020) / BPS;
            soldE18 += sales[i] * s.pricesE18[i] / _unit(i);
            if (s.distancesE18[i] < 0) asked[i] = 1;
        }
        uint256 valueE18 = _roll(seed, 204) % 2 == 0
            ? soldE18 * _clamp(valueBps, 9_700, 10_050) / BPS
            : soldE18 - _most(s.totalE18, soldE18) * _clamp(valueBps, 8_000, 10_000) / BPS;
        ScriptedExecutor.Step[] memory steps = _misbehave(seed, sales, _buys(s, valueE18));

        if (_rebalance(sales, asked, steps)) ++_counts.hostileTrades;
        else ++_counts.hostileRefusals;
    }

    /// @notice The patient thief: waits for the slippage limit to climb, trades perfectly otherwise, keeps the most that can be kept,
    /// and does it again.
    function stealRepeatedly(uint256 seed) external {
        for (uint256 i; i < 4; ++i) {
            _prepareTrade(_roll(seed, i), _roll(seed, 10 + i) << 8);
            VAULT.poke();
            IBasketVault.Policy memory p = VAULT.policy();
            vm.warp(block.timestamp + p.slippageRampSeconds);
            _refresh();
            Sight memory s = _look();
            (uint256[] memory sales, uint256 soldE18,) = _affordableSales(s, p);
            uint256[] memory buys = _buys(s, soldE18 - _most(s.totalE18, soldE18) * 999 / 1_000);
            if (_rebalance(sales, buys, _bring(buys))) ++_counts.hostileTrades;
            else ++_counts.hostileRefusals;
        }
    }

    /// @dev The most a thief would dare to take of a sale: the slippage limit of now or the whole loss budget, as if none were spent.
    function _most(uint256 totalE18, uint256 soldE18) internal view returns (uint256) {
        IBasketVault.Policy memory p = VAULT.policy();
        uint256 since = VAULT.state().brokenSince;
        uint256 elapsed = since == 0 ? 0 : block.timestamp - since;
        if (elapsed > p.slippageRampSeconds) elapsed = p.slippageRampSeconds;
        uint256 climbBps = (p.maxSlippageBps - p.startSlippageBps) * elapsed / p.slippageRampSeconds;
        uint256 bySlippage = soldE18 * (p.startSlippageBps + climbBps) / BPS;
        uint256 byBudget = totalE18 * p.lossBudgetBps / BPS;
        return bySlippage < byBudget ? bySlippage : byBudget;
    }

    /// @dev Steps of an executor that takes, keeps, gives back, re-enters, or gives too much.
    function _misbehave(uint256 seed, uint256[] memory sales, uint256[] memory buys)
        internal
        view
        returns (ScriptedExecutor.Step[] memory steps)
    {
        uint256 manner = _roll(seed, 100) % 8;
        if (manner == 0) return new ScriptedExecutor.Step[](0); // takes everything
        if (manner == 1) buys[_roll(seed, 101) % buys.length] = 0; // forgets one
        if (manner == 2) {
            // brings one in plenty
            uint256 j = _roll(seed, 102) % buys.length;
            buys[j] = buys[j] * 3 / 2;
        }
        if (manner == 5) _concentrate(buys);
        steps = new ScriptedExecutor.Step[](2 * buys.length + 1);
        bytes memory reentry = _reentry(_roll(seed, 103));
        steps[0] = manner == 3
            ? ScriptedExecutor.Step(
                address(VAULT),
                reentry,
                abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
            )
            : ScriptedExecutor.Step(address(VAULT), abi.encodeCall(IVaultCore.locked, ()), "");
        for (uint256 i; i < buys.length; ++i) {
            steps[1 + i] = _mintStep(i, buys[i]);
            // gives back a part, the whole, or more than the whole of what was sold
            uint256 back = manner == 4 ? sales[i] * (_roll(seed, 104) % 13_000) / BPS : 0;
            steps[1 + buys.length + i] = _mintStep(i, back);
        }
    }

    /// @dev Brings in one asset what was meant for all, far beyond its target.
    function _concentrate(uint256[] memory buys) internal view {
        uint256 worthE18;
        uint256 last = buys.length;
        for (uint256 i; i < buys.length; ++i) {
            if (buys[i] == 0) continue;
            worthE18 += buys[i] * _priceE18(i) / _unit(i);
            buys[i] = 1; // as little as may be asked
            last = i;
        }
        if (last < buys.length) buys[last] = worthE18 * _unit(last) / _priceE18(last) + 1;
    }

    function _reentry(uint256 seed) internal view returns (bytes memory) {
        uint256[] memory none = new uint256[](_tokens.length);
        if (seed % 5 == 0) return abi.encodeCall(IVaultCore.redeemInKind, (1, address(EXECUTOR), _holders[0], none));
        if (seed % 5 == 1) return abi.encodeCall(IVaultCore.mintInKind, (1, address(EXECUTOR), none));
        if (seed % 5 == 2) return abi.encodeCall(IVaultCore.claim, (address(_tokens[0]), address(EXECUTOR)));
        if (seed % 5 == 3) return abi.encodeCall(IVaultCore.poke, ());
        return abi.encodeCall(IVaultCore.collectFee, ());
    }

    /// @dev Tries a rebalance; if it goes through, holds what happened against the promises.
    function _rebalance(uint256[] memory sales, uint256[] memory asked, ScriptedExecutor.Step[] memory steps)
        internal
        returns (bool done)
    {
        Sight memory before = _look();
        IBasketVault.State memory state = VAULT.state();
        bytes memory route = abi.encode(steps);
        vm.prank(KEEPER);
        try VAULT.rebalance(state.epoch, sales, asked, address(EXECUTOR), route) {
            done = true;
            _checkTrade(before, _look(), sales, asked);
        } catch (bytes memory reason) {
            lastRefusal = reason;
            if (keccak256(abi.encode(before)) != keccak256(abi.encode(_look()))) {
                _note(Promise.KeptValue, "a refused rebalance changed something");
            }
        }
    }

    /* MARKET */

    function movePrice(uint256 asset, uint256 factorBps) public {
        asset = _clamp(asset, 0, _feeds.length - 1);
        factorBps = _clamp(factorBps, 7_000, 14_000);
        int192 answer = _answersE8[asset] * int192(int256(factorBps)) / int192(int256(BPS));
        int192 first = _firstAnswersE8[asset];
        if (answer > 20 * first) answer = 20 * first;
        if (answer < first / 20) answer = first / 20;
        _answersE8[asset] = answer;
        _feeds[asset].push(answer);
    }

    /// @notice A feed fails, answers nonsense, or answers late.
    function breakFeed(uint256 asset, uint256 manner) external {
        MockAggregator feed = _feeds[_clamp(asset, 0, _feeds.length - 1)];
        ++_counts.feedsBroken;
        manner = manner % 4;
        if (manner == 0) feed.setFailing(true);
        else if (manner == 1) feed.push(0);
        else if (manner == 2) feed.push(-5);
        else feed.pushAt(1e8, uint64(block.timestamp - 2 hours));
    }

    function breakToken(bool broken) external {
        if (broken) ++_counts.tokensBroken;
        _fragile().setBroken(broken);
    }

    function passTime(uint256 durationSeconds, bool fresh) external {
        vm.warp(block.timestamp + _clamp(durationSeconds, 1, 3 days));
        if (fresh) _refresh();
    }

    /* GOVERNANCE */

    function setTargets(uint256 seed) external {
        Sight memory before = _look();
        uint256 n = _tokens.length;
        uint256[] memory targets = new uint256[](n);
        IBasketVault.Band[] memory bands = new IBasketVault.Band[](n);
        uint256 left = E18;
        for (uint256 i; i < n; ++i) {
            targets[i] = i == n - 1 ? left : left * (_roll(seed, i) % 70) / 100;
            left -= targets[i];
            bands[i].bandBps = uint16(30 + _roll(seed, 50 + i) % 970);
        }

        vm.startPrank(CURATOR);
        VAULT.setTargets(targets, 0);
        VAULT.setBands(bands);
        vm.stopPrank();
        ++_counts.targetsSet;
        _checkKept(before, "setTargets");
    }

    function setPolicy(uint256 seed) external {
        Sight memory before = _look();
        IBasketVault.Policy memory p = VAULT.policy();
        p.startSlippageBps = uint16(5 + _roll(seed, 0) % 40);
        p.maxSlippageBps = uint16(p.startSlippageBps + _roll(seed, 1) % (300 - p.startSlippageBps));
        p.slippageRampSeconds = uint32(1 + _roll(seed, 2) % 1 days);
        p.minProgressBps = uint16(100 + _roll(seed, 3) % 4_000);
        p.cooldownSeconds = uint32(_roll(seed, 4) % 1 hours);
        p.lossBudgetBps = uint16(5 + _roll(seed, 5) % 100);
        p.lossPeriodSeconds = uint32(1 hours + _roll(seed, 6) % 7 days);
        p.turnoverBudgetBps = uint16(2_000 + _roll(seed, 7) % 8_000);
        p.turnoverPeriodSeconds = uint32(1 hours + _roll(seed, 8) % 2 days);

        vm.prank(OWNER);
        VAULT.setPolicy(p);
        ++_counts.policiesSet;
        delete _lossesE18;
        delete _lossTimes;
        _checkKept(before, "setPolicy");
    }

    function pause() external {
        Sight memory before = _look();
        vm.prank(GUARDIAN);
        VAULT.pauseRebalance();
        ++_counts.pauses;
        _checkKept(before, "pause");
    }

    function setFee(uint256 feeBps) external {
        Sight memory before = _look();
        address recipient = VAULT.feeRecipient();
        vm.prank(OWNER);
        VAULT.setFees(IVaultBase.Fees(uint16(_clamp(feeBps, 0, 500)), 0, 0, 0), recipient);
        _checkKept(before, "setFee");
    }

    /* WHAT WAS SEEN */

    function counts() external view returns (Counts memory) {
        return _counts;
    }

    function firstBreach(Promise which) external view returns (string memory) {
        return _broken[which];
    }

    /* CHECKS */

    /// @dev No call but a rebalance may leave a share with less of anything, to the unit and without any price.
    function _checkKept(Sight memory before, string memory what) internal {
        Sight memory after_ = _look();
        for (uint256 i; i < before.held.length; ++i) {
            if (after_.held[i] * before.supply < before.held[i] * after_.supply) _note(Promise.KeptValue, what);
            if (after_.unbooked[i] != before.unbooked[i]) _note(Promise.InertGifts, what);
        }
    }

    function _checkTrade(Sight memory b, Sight memory a, uint256[] memory sales, uint256[] memory asked) internal {
        if (!_isBroken(b)) _note(Promise.BoundedLoss, "traded while no band was broken");
        if (a.supply != b.supply) _note(Promise.TowardTarget, "a trade changed the supply");
        uint256 soldE18;
        for (uint256 i; i < sales.length; ++i) {
            if (a.unbooked[i] < b.unbooked[i]) _note(Promise.InertGifts, "a gift was traded away");
            if (sales[i] == 0 && asked[i] == 0 && a.held[i] != b.held[i]) {
                _note(Promise.TowardTarget, "moved an asset that was not named");
            }
            if (a.held[i] < b.held[i]) {
                if (b.distancesE18[i] <= 0) _note(Promise.TowardTarget, "sold without a surplus");
                soldE18 += (b.held[i] - a.held[i]) * b.pricesE18[i] / _unit(i) + 1;
            }
            if (a.held[i] > b.held[i] && b.distancesE18[i] >= 0) _note(Promise.TowardTarget, "bought a surplus");
        }
        _checkDistances(b, a);
        _checkLoss(b.totalE18, a.totalE18, soldE18);
    }

    function _checkDistances(Sight memory b, Sight memory a) internal {
        IBasketVault.Policy memory p = VAULT.policy();
        uint256 dustE18 = a.totalE18 * p.dustBps / BPS;
        for (uint256 i; i < b.held.length; ++i) {
            uint256 sizeBefore = _size(b.distancesE18[i]);
            uint256 sizeAfter = _size(a.distancesE18[i]);
            bool crossed = (b.distancesE18[i] > 0) != (a.distancesE18[i] > 0) && a.distancesE18[i] != 0;
            if (crossed && sizeAfter > dustE18) _note(Promise.TowardTarget, "crossed a target");
            if (sizeAfter > sizeBefore + dustE18) _note(Promise.TowardTarget, "ended further away");
        }
        if (a.distanceE18 <= dustE18) return;
        if (a.distanceE18 * b.totalE18 * BPS > b.distanceE18 * a.totalE18 * (BPS - p.minProgressBps)) {
            _note(Promise.TowardTarget, "made too little progress");
        }
    }

    /// @dev Slippage of this trade, and the leaky bucket over every window that ends now.
    function _checkLoss(uint256 beforeE18, uint256 afterE18, uint256 soldE18) internal {
        uint256 lossE18 = beforeE18 > afterE18 ? beforeE18 - afterE18 : 0;
        IBasketVault.Policy memory p = VAULT.policy();
        if (lossE18 * BPS > soldE18 * p.maxSlippageBps + _tokens.length * BPS) {
            _note(Promise.BoundedLoss, "lost more than the slippage limit");
        }
        _lossesE18.push(lossE18 * E18 / beforeE18);
        _lossTimes.push(block.timestamp);
        uint256 sumE18;
        for (uint256 i = _lossesE18.length; i > 0; --i) {
            sumE18 += _lossesE18[i - 1];
            uint256 window = block.timestamp - _lossTimes[i - 1];
            // {1e-18 of V}: sum <= budget * (1 + W / P)
            if (sumE18 * p.lossPeriodSeconds > uint256(p.lossBudgetBps) * 1e14 * (p.lossPeriodSeconds + window)) {
                _note(Promise.BoundedLoss, "lost more than the budget of a window");
            }
        }
    }

    /* ARITHMETIC */

    function _look() internal view returns (Sight memory s) {
        uint256 n = _tokens.length;
        s.held = VAULT.held();
        s.supply = VAULT.totalSupply();
        s.pricesE18 = new uint256[](n);
        s.unbooked = new int256[](n);
        s.valuesE18 = new uint256[](n);
        s.distancesE18 = new int256[](n);
        for (uint256 i; i < n; ++i) {
            s.pricesE18[i] = _priceE18(i);
            s.valuesE18[i] = s.held[i] * s.pricesE18[i] / _unit(i);
            s.totalE18 += s.valuesE18[i];
            s.unbooked[i] = _unbooked(i, s.held[i]);
        }
        IBasketVault.Asset[] memory assets = VAULT.assets();
        for (uint256 i; i < n; ++i) {
            s.distancesE18[i] = int256(s.valuesE18[i]) - int256(uint256(assets[i].targetE18) * s.totalE18 / E18);
            s.distanceE18 += _size(s.distancesE18[i]);
        }
    }

    /// @dev Gifts: what is there and neither held for shares nor owed to a claim. Less than nothing is insolvency.
    function _unbooked(uint256 asset, uint256 held) internal view returns (int256) {
        uint256 owed = held + VAULT.totalClaimable(address(_tokens[asset]));
        return int256(_tokens[asset].balanceOf(address(VAULT))) - int256(owed);
    }

    function _isBroken(Sight memory s) internal view returns (bool) {
        IBasketVault.Asset[] memory assets = VAULT.assets();
        for (uint256 i; i < assets.length; ++i) {
            if (_size(s.distancesE18[i]) * BPS > assets[i].bandBps * s.totalE18) return true;
        }
        return false;
    }

    /// @dev The same part of every surplus: all of it, or what the turnover budget has left.
    function _affordableSales(Sight memory s, IBasketVault.Policy memory p)
        internal
        view
        returns (uint256[] memory sales, uint256 soldE18, uint256 partBps)
    {
        uint256 surplusE18;
        for (uint256 i; i < s.held.length; ++i) {
            if (s.distancesE18[i] > 0) surplusE18 += uint256(s.distancesE18[i]);
        }
        uint256 leftE18 = _left(VAULT.state().turnoverLevelE18, p.turnoverBudgetBps, p.turnoverPeriodSeconds);
        partBps = surplusE18 == 0 ? 0 : leftE18 * s.totalE18 / E18 * (BPS - 1) / surplusE18;
        if (partBps > BPS) partBps = BPS;
        sales = new uint256[](s.held.length);
        for (uint256 i; i < sales.length; ++i) {
            if (s.distancesE18[i] <= 0) continue;
            sales[i] = uint256(s.distancesE18[i]) * partBps / BPS * _unit(i) / s.pricesE18[i];
            soldE18 += sales[i] * s.pricesE18[i] / _unit(i);
        }
    }

    function _fitsLossBudget(Sight memory s, IBasketVault.Policy memory p, uint256 soldE18, uint256 keptBps)
        internal
        view
        returns (bool)
    {
        uint256 leftE18 = _left(VAULT.state().lossLevelE18, p.lossBudgetBps, p.lossPeriodSeconds);
        uint256 lossE18 = (soldE18 - soldE18 * keptBps / BPS) * E18 / s.totalE18;
        // A margin for what amounts lose when they are rounded to units.
        return lossE18 + 1e12 < leftE18;
    }

    function _left(uint256 levelE18, uint256 budgetBps, uint256 periodSeconds) internal view returns (uint256) {
        uint256 budgetE18 = budgetBps * 1e14;
        uint256 drainedE18 = budgetE18 * (block.timestamp - VAULT.state().rebalancedAt) / periodSeconds;
        uint256 now_ = drainedE18 >= levelE18 ? 0 : levelE18 - drainedE18;
        return now_ >= budgetE18 ? 0 : budgetE18 - now_;
    }

    /// @dev `valueE18` spread over the deficits in their proportion.
    function _buys(Sight memory s, uint256 valueE18) internal view returns (uint256[] memory buys) {
        uint256 deficitE18;
        for (uint256 i; i < s.held.length; ++i) {
            if (s.distancesE18[i] < 0) deficitE18 += uint256(-s.distancesE18[i]);
        }
        buys = new uint256[](s.held.length);
        for (uint256 i; i < buys.length; ++i) {
            if (s.distancesE18[i] >= 0) continue;
            buys[i] = valueE18 * uint256(-s.distancesE18[i]) / deficitE18 * _unit(i) / s.pricesE18[i];
        }
    }

    function _bring(uint256[] memory buys) internal view returns (ScriptedExecutor.Step[] memory steps) {
        steps = new ScriptedExecutor.Step[](buys.length);
        for (uint256 i; i < buys.length; ++i) {
            steps[i] = _mintStep(i, buys[i]);
        }
    }

    function _mintStep(uint256 asset, uint256 amount) internal view returns (ScriptedExecutor.Step memory) {
        return
            ScriptedExecutor.Step(
                address(_tokens[asset]), abi.encodeCall(LocalToken.mint, (address(VAULT), amount)), ""
            );
    }

    function _refresh() internal {
        for (uint256 i; i < _feeds.length; ++i) {
            _feeds[i].setFailing(false);
            _feeds[i].push(_answersE8[i]);
        }
    }

    function _note(Promise which, string memory how) internal {
        if (bytes(_broken[which]).length == 0) _broken[which] = how;
    }

    function _holder(uint256 seed) internal view returns (address) {
        return _holders[seed % _holders.length];
    }

    function _fragile() internal view returns (RevertingToken) {
        return RevertingToken(address(_tokens[FRAGILE]));
    }

    function _priceE18(uint256 i) internal view returns (uint256) {
        return uint256(int256(_answersE8[i])) * 1e10;
    }

    function _unit(uint256 i) internal view returns (uint256) {
        return 10 ** _tokens[i].decimals();
    }

    /// @dev A number from `least` to `most`; forge-std's `bound` does the same and logs it.
    function _clamp(uint256 x, uint256 least, uint256 most) internal pure returns (uint256) {
        if (x >= least && x <= most) return x;
        return least + x % (most - least + 1);
    }

    function _roll(uint256 seed, uint256 salt) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, salt))) >> 8;
    }

    function _size(int256 d) internal pure returns (uint256) {
        return d < 0 ? uint256(-d) : uint256(d);
    }
}
