"""Operations that people carry out: to deploy and set up, to govern, to use a vault from a wallet, and to check all of it."""
