"""One keeper on many machines: workers look, one leased leader for each signer signs and sends."""
