"""A keeper on many machines: workers evaluate vaults; one leader per sender account, by lease, signs and sends."""
