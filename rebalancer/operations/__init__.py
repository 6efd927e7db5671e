"""Operations of people: deployment and set-up, governance, use of a vault from a wallet, and checks."""
