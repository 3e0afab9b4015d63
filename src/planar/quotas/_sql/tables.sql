-- Version 1. The name "planar" stands for the schema that the store was opened with.
-- Times are microseconds since the epoch, money is nano-USD: whole numbers, as in the engine.

-- A tenant's root. Every operation locks this row first, so that all of a tree is decided in one order: nothing below
-- needs a lock of its own, and no two operations can wait for each other.
CREATE TABLE planar.tree (
    root text COLLATE "C" PRIMARY KEY,
    now bigint NOT NULL,          -- the latest time that was seen: a clock that is set back opens no window twice
    known boolean NOT NULL        -- it was given limits, or an empty list of them
) WITH (fillfactor = 50);         -- room on the page for the next version of a row: no index has to hear of it

-- A limit of a scope. `counter` is the one that counts now.
CREATE TABLE planar.cell (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope text COLLATE "C" NOT NULL,
    place integer NOT NULL,       -- in the order in which its scope's limits were given
    lead smallint NOT NULL,       -- 0: bounds an answer's tokens, 1: bounds its money, 2: neither
    kind text NOT NULL,           -- rate, rolling or window (also for ever, and concurrency)
    gate boolean NOT NULL,        -- a rate of requests: who was let in has been let in
    dimension smallint NOT NULL,  -- requests, input tokens, output tokens, tokens, nano-USD, concurrency: from 0
    amount bigint NOT NULL,
    bound bigint NOT NULL,        -- the amount, or what cannot be reached where the limit lets all pass
    unit bigint NOT NULL,         -- rate: a request or token in the unit of `level`; rolling: the window's length
    capacity bigint NOT NULL,     -- rate: how far it may fill
    share integer,
    pays boolean NOT NULL,        -- rows that overdraw it say so
    alerts integer[] NOT NULL,
    period text NOT NULL,         -- the window's name
    notable bigint NOT NULL,      -- what a fresh window has to reach until there is something to tell
    limit_json text NOT NULL,
    counter bigint NOT NULL,
    UNIQUE (scope, place) DEFERRABLE INITIALLY DEFERRED
);

-- What one limit has counted: in one window, where it has windows. A lease keeps the one that it was reserved in.
CREATE TABLE planar.counter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cell bigint NOT NULL,
    start bigint NOT NULL,
    until bigint NOT NULL,
    used bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    alerted integer NOT NULL DEFAULT 0,
    notable bigint NOT NULL,
    level bigint NOT NULL DEFAULT 0,   -- rate: filled so far at the time `at`
    at bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX counter_of_cell ON planar.counter (cell);

-- What was used of a rolling limit in a 60th of its window.
CREATE TABLE planar.bucket (
    counter bigint NOT NULL,
    number bigint NOT NULL,
    used bigint NOT NULL,
    PRIMARY KEY (counter, number)
) WITH (fillfactor = 50);

-- What a child holds of a limit with a share. Where it holds nothing there is no row.
CREATE TABLE planar.child (
    counter bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    held bigint NOT NULL,
    PRIMARY KEY (counter, name)
) WITH (fillfactor = 50);

-- Leases that are alive, and for a quarter of an hour those that were.
CREATE TABLE planar.lease (
    id text COLLATE "C" PRIMARY KEY,
    root text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    deployment text NOT NULL,
    state text NOT NULL,              -- active; settled, released; after expiry charged or, undispatched, lapsed
    dispatched boolean NOT NULL,
    asked_input bigint NOT NULL,      -- what was reserved at first: a repeated call asks for the same
    asked_output bigint NOT NULL,
    asked_usd bigint,
    input_tokens bigint NOT NULL,     -- what is held
    output_tokens bigint NOT NULL,
    nano_usd bigint,
    reserved_at bigint NOT NULL,
    expires bigint NOT NULL,
    wake bigint NOT NULL,             -- when there is something to do: to end it, and later to forget it
    tokens_left bigint,               -- the headroom that was answered
    usd_left bigint,
    parts bigint[] NOT NULL           -- the counters in which it holds something
);
CREATE INDEX lease_to_wake ON planar.lease (root, wake, id);
CREATE INDEX lease_alive ON planar.lease (root, reserved_at, id) WHERE state = 'active';

-- The book. Rows are only ever added.
CREATE TABLE planar.ledger (
    number bigint GENERATED ALWAYS AS IDENTITY,
    lease_id text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    root text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    deployment text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    nano_usd bigint,                  -- null: the price was unknown
    counted_usd bigint NOT NULL,      -- what budgets count: where the price was unknown, what was held
    time bigint NOT NULL,
    reserved_at bigint NOT NULL,      -- these two say in which windows a lease counts
    booked_at bigint NOT NULL,
    flags text[] NOT NULL,
    reason text NOT NULL,
    usage text,                       -- JSON, as Planar writes it; text, because what a provider sent may be in it
    price text,
    metadata text,
    alerts jsonb,                     -- [[scope, dimension, window, amount, start, percent], ...]
    PRIMARY KEY (lease_id, kind)
);
CREATE INDEX ledger_of_tree ON planar.ledger (root, time, number);
CREATE INDEX ledger_by_time ON planar.ledger (time, number);
