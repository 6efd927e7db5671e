-- The outbox as version 1 made it.
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    chain_id INTEGER NOT NULL,
    vault TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    data TEXT NOT NULL,
    gas_limit INTEGER NOT NULL,
    reason TEXT NOT NULL,
    sender TEXT NOT NULL,
    state TEXT NOT NULL,
    nonce INTEGER,
    raw BLOB,
    transaction_hash TEXT,
    block_number INTEGER,
    block_hash TEXT,
    note TEXT NOT NULL DEFAULT '',
    planned_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    CHECK (state IN ('planned', 'failed') OR raw IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX one_live_attempt ON attempts (chain_id, vault, epoch)
    WHERE state <> 'failed';
CREATE UNIQUE INDEX one_live_nonce ON attempts (chain_id, sender, nonce)
    WHERE state <> 'failed';
PRAGMA application_id = 0x52424F42;
PRAGMA user_version = 1;
