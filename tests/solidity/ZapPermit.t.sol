// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { DeployPermit2 } from "@uniswap/v4-periphery/lib/permit2/test/utils/DeployPermit2.sol";

import { IZap } from "../../contracts/interfaces/IZap.sol";
import { NoReturnToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { LocalToken, MockToken } from "../../contracts/mocks/MockToken.sol";
import { MockPool } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";
import { ZapScene } from "./support/ZapScene.sol";

/// @notice What these tests call on Permit2; its own sources want another compiler, so its published code runs here.
interface IPermit2Nonces {
    function DOMAIN_SEPARATOR() external view returns (bytes32);
    function nonceBitmap(address owner, uint256 word) external view returns (uint256);
}

/// @notice Zap paid by signature: ERC-2612, Permit2, and what another account can do with a signature.
contract ZapPermitTest is ZapScene {
    bytes32 internal constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 internal constant TOKEN_TYPE = keccak256("TokenPermissions(address token,uint256 amount)");
    bytes32 internal constant TRANSFER_TYPE = keccak256(
        "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)"
    );

    address internal constant PERMIT2 = 0x000000000022D473030F116dDEE9F6B43aC78BA3;

    error InvalidNonce();
    error InvalidSigner();
    error SignatureExpired(uint256 signatureDeadline);

    uint256 internal aliceKey;

    function setUp() public override {
        super.setUp();
        (, aliceKey) = makeAddrAndKey("alice");
        new DeployPermit2().run();
        tokens[USDC].mint(alice, 1_000e6);
    }

    /* ERC-2612: REFUSALS */

    function test_a_permit_for_ether_is_refused() public {
        IZap.In memory z = _fromEther(1e18);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.ValueMismatch.selector, 0, 1e18));
        zap.zapInWithPermit(z, IZap.Permit(block.timestamp, 0, 0, 0));

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.ValueMismatch.selector, 0, 1e18));
        zap.zapInWithPermit2(z, IZap.Transfer(0, block.timestamp, ""));
    }

    function test_a_permit_past_the_deadline_of_the_deposit_is_refused() public {
        IZap.In memory z = _paidInUsdc(1_000e6);
        IZap.Permit memory p = _permit(tokens[USDC], 1_000e6);
        IZap.Transfer memory t = _transfer(address(tokens[USDC]), 1_000e6, 7);
        IZap.Out memory out = _outToUsdc(1e18);
        skip(1);

        vm.startPrank(alice);
        bytes memory late = abi.encodeWithSelector(IZap.DeadlinePassed.selector, z.deadline, z.deadline + 1);
        vm.expectRevert(late);
        zap.zapInWithPermit(z, p);
        vm.expectRevert(late);
        zap.zapInWithPermit2(z, t);
        vm.expectRevert(late);
        zap.zapOutWithPermit(out, p);
        vm.stopPrank();
    }

    function test_a_permit_for_less_or_by_nobody_gives_nothing() public {
        IZap.In memory z = _paidInUsdc(1_000e6);
        bytes memory refusal =
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1_000e6);
        IZap.Permit memory less = _permit(tokens[USDC], 999e6);

        vm.startPrank(alice);
        vm.expectRevert(refusal);
        zap.zapInWithPermit(z, less);
        vm.expectRevert(refusal);
        zap.zapInWithPermit(z, IZap.Permit(block.timestamp, 27, bytes32(uint256(1)), bytes32(uint256(1))));
        vm.stopPrank();
        assertEq(tokens[USDC].balanceOf(alice), 1_000e6);
    }

    function test_a_permit_of_a_token_that_accepts_any_call_gives_nothing() public {
        PhantomToken phantom = new PhantomToken();
        phantom.mint(alice, 1_000e6);
        IZap.In memory z = _paidInUsdc(1_000e6);
        z.tokenIn = address(phantom);

        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1_000e6)
        );
        zap.zapInWithPermit(z, IZap.Permit(block.timestamp, 27, 0, 0));
    }

    /* ERC-2612: SUCCESS */

    function test_a_deposit_by_permit_needs_no_approval_before() public {
        IZap.Permit memory p = _permit(tokens[USDC], 1_000e6);

        vm.prank(alice);
        assertEq(zap.zapInWithPermit(_paidInUsdc(1_000e6), p), 1e18);

        assertEq(vault.balanceOf(alice), 1e18);
        assertEq(tokens[USDC].allowance(alice, address(zap)), 0);
        _assertNothingLeft();
    }

    function test_a_permit_that_somebody_sent_first_does_not_stop_the_deposit() public {
        IZap.Permit memory p = _permit(tokens[USDC], 1_000e6);
        vm.prank(bob);
        tokens[USDC].permit(alice, address(zap), 1_000e6, p.deadline, p.v, p.r, p.s);

        vm.prank(alice);
        assertEq(zap.zapInWithPermit(_paidInUsdc(1_000e6), p), 1e18);
    }

    function test_a_permit_of_a_token_that_knows_none_does_not_matter_where_it_is_approved() public {
        MockToken plain = MockToken(address(new PlainToken()));
        MockPool pool = new MockPool(plain, tokens[USDC], 1e18);
        plain.mint(alice, 1_000e6);
        _approve(plain, alice, address(zap), 1_000e6);
        IZap.In memory z = _paidInUsdc(1_000e6);
        (z.tokenIn, z.swapAmount) = (address(plain), 1_000e6);
        z.route = bytes.concat(Routes.v3(plain, 0, address(pool), 0, tokens[USDC]), z.route);

        vm.prank(alice);
        assertEq(zap.zapInWithPermit(z, IZap.Permit(block.timestamp, 27, 0, 0)), 1e18);
        _assertNothingLeft();
    }

    function test_a_withdrawal_by_permit_needs_no_approval_before() public {
        _deposit(alice, 1e18);
        IZap.Permit memory p = _permit(MockToken(address(vault)), 1e18);

        vm.prank(alice);
        assertEq(zap.zapOutWithPermit(_outToUsdc(1e18), p), 1_000e6);

        assertEq(tokens[USDC].balanceOf(alice), 2_000e6);
        assertEq(vault.allowance(alice, address(zap)), 0);
        _assertNothingLeft();
    }

    function test_a_permit_for_shares_that_somebody_sent_first_does_not_stop_the_withdrawal() public {
        _deposit(alice, 1e18);
        IZap.Permit memory p = _permit(MockToken(address(vault)), 1e18);
        vm.prank(bob);
        IERC20Permit(address(vault)).permit(alice, address(zap), 1e18, p.deadline, p.v, p.r, p.s);

        vm.prank(alice);
        assertEq(zap.zapOutWithPermit(_outToUsdc(1e18), p), 1_000e6);
    }

    /* ERC-2612: THIEVES */

    function test_a_permit_of_somebody_else_pays_for_nobody_but_them() public {
        IZap.Permit memory p = _permit(tokens[USDC], 1_000e6);
        IZap.In memory z = _paidInUsdc(1_000e6);
        z.receiver = bob;
        bytes memory refusal =
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1_000e6);

        vm.startPrank(bob);
        vm.expectRevert(refusal);
        zap.zapInWithPermit(z, p);
        // Sent first, it is alice's approval for the zap; bob still has none.
        tokens[USDC].permit(alice, address(zap), 1_000e6, p.deadline, p.v, p.r, p.s);
        vm.expectRevert(refusal);
        zap.zapInWithPermit(z, p);
        vm.expectRevert(refusal);
        zap.zapIn(z);
        vm.stopPrank();

        assertEq(tokens[USDC].balanceOf(alice), 1_000e6);
        assertEq(vault.balanceOf(bob), 0);
    }

    function test_a_permit_for_shares_of_somebody_else_redeems_for_nobody_but_them() public {
        _deposit(alice, 1e18);
        IZap.Permit memory p = _permit(MockToken(address(vault)), 1e18);
        IZap.Out memory z = _outToUsdc(1e18);
        z.receiver = bob;

        vm.startPrank(bob);
        IERC20Permit(address(vault)).permit(alice, address(zap), 1e18, p.deadline, p.v, p.r, p.s);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1e18));
        zap.zapOutWithPermit(z, p);
        vm.stopPrank();

        assertEq(vault.balanceOf(alice), 1e18);
    }

    /* PERMIT2 */

    function test_a_deposit_by_permit2_takes_what_was_signed() public {
        _approve(tokens[USDC], alice, PERMIT2, type(uint256).max);

        IZap.In memory z = _paidInUsdc(1_000e6);
        z.receiver = bob;
        IZap.Transfer memory t = _transfer(z.tokenIn, 1_000e6, 7);

        vm.prank(alice);
        assertEq(zap.zapInWithPermit2(z, t), 1e18);

        assertEq(vault.balanceOf(bob), 1e18);
        assertEq(tokens[USDC].balanceOf(alice), 0);
        assertEq(tokens[USDC].allowance(alice, address(zap)), 0);
        assertEq(IPermit2Nonces(PERMIT2).nonceBitmap(alice, 0), 1 << 7);
        _assertNothingLeft();
    }

    function test_a_deposit_by_permit2_of_a_token_that_returns_nothing() public {
        NoReturnToken tether = new NoReturnToken("Tether", "USDT", 6);
        MockPool pool = new MockPool(tether, tokens[USDC], 1e18);
        tether.mint(alice, 1_000e6);
        _approve(tether, alice, PERMIT2, 1_000e6);
        IZap.In memory z = _paidInUsdc(1_000e6);
        (z.tokenIn, z.swapAmount) = (address(tether), 1_000e6);
        z.route = bytes.concat(Routes.v3(tether, 0, address(pool), 0, tokens[USDC]), z.route);

        IZap.Transfer memory t = _transfer(address(tether), 1_000e6, 0);

        vm.prank(alice);
        assertEq(zap.zapInWithPermit2(z, t), 1e18);
        _assertNoneLeft(tether);
    }

    function test_a_permit2_signature_works_once() public {
        _approve(tokens[USDC], alice, PERMIT2, type(uint256).max);
        IZap.In memory z = _paidInUsdc(500e6);
        IZap.Transfer memory t = _transfer(z.tokenIn, 500e6, 7);
        vm.startPrank(alice);
        zap.zapInWithPermit2(z, t);

        vm.expectRevert(InvalidNonce.selector);
        zap.zapInWithPermit2(z, t);
        vm.stopPrank();
        assertEq(tokens[USDC].balanceOf(alice), 500e6);
    }

    function test_a_permit2_signature_past_its_deadline_is_refused() public {
        _approve(tokens[USDC], alice, PERMIT2, type(uint256).max);
        IZap.In memory z = _paidInUsdc(1_000e6);
        z.deadline += 1;
        IZap.Transfer memory t = _transfer(z.tokenIn, 1_000e6, 7);
        skip(1);

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(SignatureExpired.selector, t.deadline));
        zap.zapInWithPermit2(z, t);
    }

    function test_a_permit2_signature_of_somebody_else_is_refused() public {
        _approve(tokens[USDC], alice, PERMIT2, type(uint256).max);
        IZap.In memory z = _paidInUsdc(1_000e6);
        z.receiver = bob;
        IZap.Transfer memory t = _transfer(z.tokenIn, 1_000e6, 7);

        vm.prank(bob);
        vm.expectRevert(InvalidSigner.selector);
        zap.zapInWithPermit2(z, t);

        // It is still valid for the account that signed it.
        z.receiver = alice;
        vm.prank(alice);
        assertEq(zap.zapInWithPermit2(z, t), 1e18);
    }

    function test_a_permit2_signature_for_another_amount_or_token_is_refused() public {
        _approve(tokens[USDC], alice, PERMIT2, type(uint256).max);
        IZap.In memory z = _paidInUsdc(1_000e6);

        vm.startPrank(alice);
        IZap.Transfer memory t = _transfer(z.tokenIn, 999e6, 7);
        vm.expectRevert(InvalidSigner.selector);
        zap.zapInWithPermit2(z, t);
        t = _transfer(address(tokens[WBTC]), 1_000e6, 7);
        vm.expectRevert(InvalidSigner.selector);
        zap.zapInWithPermit2(z, t);
        vm.stopPrank();
    }

    function test_a_permit2_signature_for_the_zap_moves_nothing_for_others() public {
        _approve(tokens[USDC], alice, PERMIT2, type(uint256).max);
        IZap.Transfer memory t = _transfer(address(tokens[USDC]), 1_000e6, 7);

        vm.prank(bob);
        vm.expectRevert(InvalidSigner.selector); // signed for the zap as spender, not for bob
        IPermit2Transfers(PERMIT2)
            .permitTransferFrom(
                IPermit2Transfers.PermitTransferFrom(
                    IPermit2Transfers.TokenPermissions(address(tokens[USDC]), 1_000e6), t.nonce, t.deadline
                ),
                IPermit2Transfers.SignatureTransferDetails(bob, 1_000e6),
                alice,
                t.signature
            );
    }

    /* HELPERS */

    function _permit(LocalToken token, uint256 amount) private view returns (IZap.Permit memory) {
        bytes32 message =
            keccak256(abi.encode(PERMIT_TYPE, alice, address(zap), amount, token.nonces(alice), block.timestamp));
        (uint8 v, bytes32 r, bytes32 s) = _sign(token.DOMAIN_SEPARATOR(), message);
        return IZap.Permit(block.timestamp, v, r, s);
    }

    function _transfer(address token, uint256 amount, uint256 nonce) private view returns (IZap.Transfer memory) {
        bytes32 permitted = keccak256(abi.encode(TOKEN_TYPE, token, amount));
        bytes32 message = keccak256(abi.encode(TRANSFER_TYPE, permitted, address(zap), nonce, block.timestamp));
        (uint8 v, bytes32 r, bytes32 s) = _sign(IPermit2Nonces(PERMIT2).DOMAIN_SEPARATOR(), message);
        return IZap.Transfer(nonce, block.timestamp, abi.encodePacked(r, s, v));
    }

    function _sign(bytes32 domain, bytes32 message) private view returns (uint8 v, bytes32 r, bytes32 s) {
        return vm.sign(aliceKey, keccak256(abi.encodePacked(hex"1901", domain, message)));
    }
}

/// @notice The transfer that a signature allows, as a thief would ask for it.
interface IPermit2Transfers {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    function permitTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata details,
        address owner,
        bytes calldata signature
    ) external;
}

/// @notice A token without permits.
contract PlainToken is ERC20 {
    constructor() ERC20("Plain", "PLAIN") { }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @notice As WETH9 does with what it does not know, it accepts a permit and does nothing.
contract PhantomToken is PlainToken {
    fallback() external { }
}
