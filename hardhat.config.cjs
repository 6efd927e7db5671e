/*
 * A bare chain: `npx hardhat node --port N`. Hardhat compiles nothing here and runs no tests;
 * it is the second implementation of the EVM that the contract suite is run against.
 */
'use strict';

process.env.HARDHAT_DISABLE_TELEMETRY_PROMPT = 'true'; // a chain for tests asks nobody anything

module.exports = {
  // No file of ours is looked for; the compiler is never asked for.
  paths: { sources: './.build/hardhat/sources', cache: './.build/hardhat/cache', artifacts: './.build/hardhat/artifacts' },
  networks: {
    hardhat: {
      chainId: 31337,
      hardfork: 'cancun',
      blockGasLimit: 1_000_000_000, // long tapes put many trades into one transaction
      allowUnlimitedContractSize: false,
      // Anvil's accounts, so that both chains know the same people.
      accounts: {
        mnemonic: 'test test test test test test test test test test test junk',
        count: 20,
        accountsBalance: '10000000000000000000000',
      },
    },
  },
};
