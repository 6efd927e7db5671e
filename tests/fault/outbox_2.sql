-- The outbox as version 2 made it.
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    chain_id INTEGER NOT NULL,
    vault TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    data TEXT NOT NULL,
    gas_limit INTEGER NOT NULL,
    reason TEXT NOT NULL,
    deadline_block INTEGER,
    sender TEXT NOT NULL,
    state TEXT NOT NULL,
    nonce INTEGER,
    mined_hash TEXT,
    block_number INTEGER,
    block_hash TEXT,
    gas_used INTEGER,
    gas_price_wei INTEGER,
    mined_at INTEGER,
    is_final INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT '',
    planned_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    CHECK (state IN ('planned', 'failed') OR nonce IS NOT NULL),
    CHECK (state NOT IN ('mined', 'final', 'cancelled') OR block_hash IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX one_live_attempt ON attempts (chain_id, vault, epoch)
    WHERE state NOT IN ('failed', 'cancelled');
CREATE UNIQUE INDEX one_live_nonce ON attempts (chain_id, sender, nonce)
    WHERE state <> 'failed';
CREATE INDEX watched_attempts ON attempts (chain_id, id)
    WHERE is_final = 0;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    attempt_id INTEGER NOT NULL REFERENCES attempts (id),
    kind TEXT NOT NULL,
    raw BLOB NOT NULL,
    transaction_hash TEXT NOT NULL,
    gas_limit INTEGER NOT NULL,
    max_fee_per_gas_wei INTEGER NOT NULL,
    max_priority_fee_per_gas_wei INTEGER NOT NULL,
    height INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    UNIQUE (attempt_id, transaction_hash)
) STRICT;
CREATE TABLE sendings (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    endpoint TEXT NOT NULL,
    answer TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (version_id, endpoint)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x52424F42;
PRAGMA user_version = 2;
