-- One function per verb, each one statement of the client and one transaction. They answer with a word; on "refused"
-- `told` says what was seen, as JSON, from which the client words the refusal with the engine's own code.
--
-- p_now: the time, in tests; null for the server's clock. p_lazy: do not wait for this commit to reach the disk. A
-- later commit that is waited for carries it along, so that a crash loses what was held, never what was settled.

-- Lock a tree, tell the time (read when the lock is held, and never before what was told last), and see to what is due.
CREATE FUNCTION planar.enter(p_root text, p_now bigint, p_create boolean, p_lazy boolean)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_at bigint;
    v_commit text := CASE WHEN p_lazy THEN set_config('synchronous_commit', 'off', true) END;
BEGIN
    LOOP
        -- A row that somebody else has changed meanwhile is computed anew, clock included, when its lock is ours.
        UPDATE planar.tree t SET now = greatest(t.now, coalesce(p_now, planar.clock()))
        WHERE t.root = p_root RETURNING t.now INTO v_at;
        EXIT WHEN FOUND;
        IF NOT p_create THEN
            v_at := coalesce(p_now, planar.clock());
            EXIT;
        END IF;
        INSERT INTO planar.tree (root, now, known) VALUES (p_root, 0, false) ON CONFLICT DO NOTHING;
    END LOOP;
    IF EXISTS (SELECT FROM planar.lease l WHERE l.root = p_root AND l.wake <= v_at) THEN
        PERFORM planar.sweep(p_root, v_at, 16);
    END IF;
    RETURN v_at;
END $$;

-- End leases whose time is over, in the order of their ends, and forget those that ended long ago: at most `p_most` of
-- either, or (null) all that are alive. In a tree nobody else is at work, so this may be done in the middle of any verb.
CREATE FUNCTION planar.sweep(p_root text, p_now bigint, p_most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_lease planar.lease;
    v_ended integer := 0;
BEGIN
    FOR v_lease IN
        SELECT * FROM planar.lease l
        WHERE l.root = p_root AND l.wake <= p_now AND (p_most IS NOT NULL OR l.state = 'active')
        ORDER BY l.wake, l.id LIMIT 2 * p_most
    LOOP
        IF v_lease.state <> 'active' THEN
            DELETE FROM planar.lease l WHERE l.id = v_lease.id;
        ELSIF p_most IS NULL OR v_ended < p_most THEN
            PERFORM planar.expire(v_lease, p_now);
            v_ended := v_ended + 1;
        END IF;
    END LOOP;
    RETURN v_ended;
END $$;

-- Charge a lease that was dispatched: its provider bills what it was asked. Let the others go.
CREATE FUNCTION planar.expire(p_lease planar.lease, p_now bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_held bigint[] := planar.costs(p_lease.input_tokens, p_lease.output_tokens, p_lease.nano_usd);
    v_marks record;
    v_number bigint;
BEGIN
    IF p_lease.dispatched THEN
        v_marks := planar.replace_hold(
            p_lease.parts, p_lease.tenant, v_held, v_held[1:5] || 0::bigint, p_lease.expires);
        PERFORM planar.write(p_lease, 'expired', p_lease.input_tokens, p_lease.output_tokens, p_lease.nano_usd,
            v_held[5], p_now, p_lease.expires, '{estimated}', '', NULL, NULL, NULL, v_marks.overdrawn, v_marks.alerts);
        PERFORM planar.end_lease(p_lease.id, 'charged', p_now);
    ELSE
        PERFORM planar.replace_hold(
            p_lease.parts, p_lease.tenant, v_held, '{0,0,0,0,0,0}', p_lease.expires);
        PERFORM planar.end_lease(p_lease.id, 'lapsed', p_now);
    END IF;
END $$;

-- Take a lease from the living. It is remembered for a quarter of an hour, for calls that are repeated.
CREATE FUNCTION planar.end_lease(p_id text, p_state text, p_now bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE planar.lease SET state = p_state, wake = p_now + 900000000, parts = '{}' WHERE id = p_id;
END $$;

CREATE FUNCTION planar.write(
    p_lease planar.lease, p_kind text, p_input bigint, p_output bigint, p_usd bigint, p_counted bigint,
    p_now bigint, p_booked_at bigint, p_flags text[], p_reason text, p_usage text, p_price text, p_metadata text,
    p_overdrawn boolean, p_alerts jsonb
) RETURNS planar.ledger LANGUAGE plpgsql AS $$
DECLARE
    v_entry planar.ledger;
BEGIN
    INSERT INTO planar.ledger (lease_id, kind, root, tenant, deployment, input_tokens, output_tokens, nano_usd,
        counted_usd, time, reserved_at, booked_at, flags, reason, usage, price, metadata, alerts)
    VALUES (p_lease.id, p_kind, p_lease.root, p_lease.tenant, p_lease.deployment, p_input, p_output, p_usd,
        p_counted, p_now, p_lease.reserved_at, p_booked_at,
        CASE WHEN p_overdrawn THEN p_flags || 'overage'::text ELSE p_flags END,
        p_reason, p_usage, p_price, p_metadata, p_alerts)
    RETURNING * INTO v_entry;
    RETURN v_entry;
END $$;

-- The lease with this id, unless it has been forgotten (and only waits to be swept).
CREATE FUNCTION planar.find(p_id text, p_now bigint) RETURNS planar.lease LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_lease planar.lease;
BEGIN
    SELECT * INTO v_lease FROM planar.lease l WHERE l.id = p_id AND (l.state = 'active' OR l.wake > p_now);
    RETURN v_lease;
END $$;

-- p_scopes: the tenant's path, root first. A lease that is new is "made", one that was known "granted": that is answered.
CREATE FUNCTION planar.reserve(
    p_id text, p_tenant text, p_scopes text[], p_input bigint, p_output bigint, p_usd bigint, p_ttl bigint,
    p_deployment text, p_known_only boolean, p_lazy boolean, p_now bigint,
    OUT verdict text, OUT at bigint, OUT tokens bigint, OUT usd bigint, OUT lease planar.lease, OUT told text
) LANGUAGE plpgsql AS $$
DECLARE
    v_root text := p_scopes[1];
    v_costs bigint[] := planar.costs(p_input, p_output, p_usd);
    v_let_in boolean := true;
    v_swept boolean := false;
    v_path record;
BEGIN
    at := planar.enter(v_root, p_now, NOT p_known_only, p_lazy);
    IF p_known_only THEN
        v_let_in := coalesce((SELECT t.known FROM planar.tree t WHERE t.root = v_root), false);
    END IF;
    LOOP
        -- Where there is room, all is done in this statement. What would be left is the least of all rooms: of the
        -- limits that bound an answer's tokens, or its money, that is the lease's headroom.
        WITH seen AS MATERIALIZED (
            SELECT each.*, each.room - each.cost AS rest FROM (
                SELECT k.id, c.lead, s.depth, c.place, c.gate, c.scope, c.dimension, c.unit, c.kind = 'rate' AS rate,
                    c.share IS NOT NULL AND p_tenant <> c.scope AS shared, k.until, k.held, k.at,
                    v_costs[c.dimension + 1] AS cost, planar.room(c, k, p_tenant, reserve.at) AS room,
                    planar.drained(k.level, k.at, c.amount, reserve.at) AS level
                FROM unnest(p_scopes) WITH ORDINALITY AS s (scope, depth)
                JOIN planar.cell c ON c.scope = s.scope JOIN planar.counter k ON k.id = c.counter
                OFFSET 0
            ) AS each
        ), path AS MATERIALIZED (
            SELECT array_agg(seen.id ORDER BY lead, depth, place) FILTER (WHERE NOT gate) AS parts,
                coalesce(bool_or(reserve.at >= until), false) AS ended, min(rest) AS margin,
                min(rest) FILTER (WHERE lead = 0) AS tokens, min(rest) FILTER (WHERE lead = 1) AS usd,
                min(scope) FILTER (WHERE dimension = 4) AS priced, bool_or(shared) AS shared,
                EXISTS (SELECT FROM planar.lease l WHERE l.id = p_id)
                OR EXISTS (SELECT FROM planar.ledger l WHERE l.lease_id = p_id) AS met
            FROM seen
        ), made AS (
            INSERT INTO planar.lease
            SELECT p_id, v_root, p_tenant, p_deployment, 'active', false,
                p_input, p_output, p_usd, p_input, p_output, p_usd, reserve.at, reserve.at + p_ttl, reserve.at + p_ttl,
                path.tokens, path.usd, coalesce(path.parts, '{}')
            FROM path
            WHERE coalesce(path.margin >= 0, true) AND NOT path.ended AND NOT path.met AND v_let_in
                AND (p_usd IS NOT NULL OR path.priced IS NULL)
            ON CONFLICT DO NOTHING
            RETURNING true AS done
        ), held AS (
            UPDATE planar.counter k SET
                held = CASE WHEN s.rate THEN 0 ELSE planar.plus(s.held, s.cost) END,
                level = CASE WHEN s.rate THEN planar.poured(s.level, s.cost, s.unit) ELSE 0 END,
                at = greatest(s.at, reserve.at)
            FROM seen s CROSS JOIN made WHERE k.id = s.id AND s.cost <> 0
        )
        SELECT path.*, made.done INTO v_path FROM path LEFT JOIN made ON true;
        IF v_path.done THEN
            EXIT;
        ELSIF v_path.met THEN
            lease := planar.find(p_id, at);
            IF lease.id IS NOT NULL THEN
                verdict := CASE WHEN (lease.tenant, lease.deployment, lease.asked_input, lease.asked_output) =
                        (p_tenant, p_deployment, p_input, p_output) AND lease.asked_usd IS NOT DISTINCT FROM p_usd
                    THEN 'granted' ELSE 'taken' END;
                RETURN;
            ELSIF EXISTS (SELECT FROM planar.ledger l WHERE l.lease_id = p_id) THEN
                verdict := 'settled long ago';
                RETURN;
            END IF;
            DELETE FROM planar.lease l WHERE l.id = p_id AND l.state <> 'active' AND l.wake <= reserve.at;
        ELSIF NOT v_let_in THEN
            verdict := 'stranger';
            RETURN;
        ELSIF p_usd IS NULL AND v_path.priced IS NOT NULL THEN
            verdict := 'unpriced';
            told := v_path.priced;
            RETURN;
        ELSIF v_path.ended THEN
            verdict := 'ended';
            told := planar.ended(p_scopes, at);
            RETURN;
        ELSIF coalesce(v_path.margin >= 0, true) THEN
            verdict := 'taken';  -- at this moment, by another tree
            RETURN;
        ELSIF v_swept OR planar.sweep(v_root, at, NULL) = 0 THEN
            -- A refusal must be true: leases whose time is over are all ended before it is made.
            verdict := 'refused';
            told := planar.seen_on_path(v_root, p_tenant, v_costs, at);
            RETURN;
        ELSE
            v_swept := true;
        END IF;
    END LOOP;
    IF v_path.shared THEN
        PERFORM planar.hold_for_children(v_path.parts, p_tenant, v_costs);
    END IF;
    tokens := v_path.tokens;
    usd := v_path.usd;
    verdict := 'made';
END $$;

-- The calendar windows on a path that are over. When the next ones end only the client knows: it knows the time zones.
CREATE FUNCTION planar.ended(p_scopes text[], p_now bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT json_agg(json_build_array(c.id, c.limit_json))
        FROM planar.cell c JOIN planar.counter k ON k.id = c.counter
        WHERE c.scope = ANY (p_scopes) AND p_now >= k.until);
END $$;

-- Begin new windows, where they contain the time. The old ones go once no lease counts in them any more.
CREATE FUNCTION planar.begin_windows(
    p_root text, p_cells bigint[], p_starts bigint[], p_ends bigint[], p_now bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_at bigint := planar.enter(p_root, p_now, true, false);
    v_each record;
    v_fresh bigint;
BEGIN
    FOR v_each IN
        SELECT c.id, c.notable, w.start, w.until
        FROM unnest(p_cells, p_starts, p_ends) AS w (id, start, until)
        JOIN planar.cell c ON c.id = w.id JOIN planar.counter k ON k.id = c.counter
        WHERE v_at >= k.until AND v_at >= w.start AND v_at < w.until
    LOOP
        INSERT INTO planar.counter (cell, start, until, notable, at)
        VALUES (v_each.id, v_each.start, v_each.until, v_each.notable, v_at) RETURNING id INTO v_fresh;
        UPDATE planar.cell c SET counter = v_fresh WHERE c.id = v_each.id;
        PERFORM planar.drop_counters(ARRAY(
            SELECT k.id FROM planar.counter k
            WHERE k.cell = v_each.id AND k.id <> v_fresh AND NOT EXISTS (
                SELECT FROM planar.lease l WHERE l.root = p_root AND l.state = 'active' AND k.id = ANY (l.parts))));
    END LOOP;
END $$;

CREATE FUNCTION planar.drop_counters(p_counters bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM planar.child WHERE counter = ANY (p_counters);
    DELETE FROM planar.bucket WHERE counter = ANY (p_counters);
    DELETE FROM planar.counter WHERE id = ANY (p_counters);
END $$;

CREATE FUNCTION planar.dispatched(p_id text, p_tenant text, p_lazy boolean, p_now bigint, OUT verdict text)
LANGUAGE plpgsql AS $$
DECLARE
    v_root text := split_part(p_tenant, '/', 1);
    v_at bigint;
    v_lease planar.lease;
BEGIN
    v_at := planar.enter(v_root, p_now, false, p_lazy);
    v_lease := planar.find(p_id, v_at);
    IF v_lease.id IS NULL OR v_lease.state IN ('released', 'lapsed') THEN
        verdict := CASE WHEN EXISTS (SELECT FROM planar.ledger l WHERE l.lease_id = p_id)
            THEN 'done' ELSE coalesce(v_lease.state, 'unknown') END;
    ELSIF v_lease.tenant <> p_tenant THEN
        verdict := 'another tenant';
    ELSE
        UPDATE planar.lease l SET dispatched = true WHERE l.id = p_id AND l.state = 'active' AND NOT l.dispatched;
        verdict := 'done';
    END IF;
END $$;

-- p_base_*: what the caller's lease says is held. With `more` it is a target: a repeated call finds it reached.
CREATE FUNCTION planar.extend(
    p_id text, p_tenant text, p_base_input bigint, p_base_output bigint, p_base_usd bigint,
    p_input bigint, p_output bigint, p_usd bigint, p_ttl bigint, p_lazy boolean, p_now bigint,
    OUT verdict text, OUT at bigint, OUT lease planar.lease, OUT told text
) LANGUAGE plpgsql AS $$
DECLARE
    v_root text := split_part(p_tenant, '/', 1);
    v_before bigint[];
    v_after bigint[];
    v_delta bigint[];
    v_path record;
BEGIN
    at := planar.enter(v_root, p_now, false, p_lazy);
    lease := planar.find(p_id, at);
    IF lease.id IS NULL OR lease.state <> 'active' THEN
        verdict := coalesce(lease.state, 'unknown');
        RETURN;
    ELSIF lease.tenant <> p_tenant THEN
        verdict := 'another tenant';
        RETURN;
    END IF;
    IF p_usd IS NULL THEN
        told := (SELECT min(c.scope) FROM planar.cell c
            WHERE c.scope = ANY (planar.scopes(p_tenant)) AND c.dimension = 4);
        IF told IS NOT NULL THEN
            verdict := 'unpriced';
            RETURN;
        END IF;
    END IF;
    v_before := planar.costs(lease.input_tokens, lease.output_tokens, lease.nano_usd);
    lease.input_tokens := greatest(lease.input_tokens, p_base_input + p_input);
    lease.output_tokens := greatest(lease.output_tokens, p_base_output + p_output);
    lease.nano_usd := CASE WHEN lease.nano_usd IS NOT NULL AND p_base_usd + p_usd IS NOT NULL
        THEN greatest(lease.nano_usd, p_base_usd + p_usd) END;
    IF greatest(lease.input_tokens, lease.output_tokens, lease.nano_usd) > 9007199254740992 THEN
        verdict := 'too much';
        RETURN;
    END IF;
    v_after := planar.costs(lease.input_tokens, lease.output_tokens, lease.nano_usd);
    IF v_after = v_before AND (p_input, p_output, coalesce(p_usd, 0)) <> (0, 0, 0) THEN
        lease := planar.find(p_id, at);
        verdict := 'granted';
        RETURN;
    END IF;
    v_delta := ARRAY(SELECT a - b FROM unnest(v_after, v_before) WITH ORDINALITY AS d (a, b, place) ORDER BY place);
    IF EXISTS (
        SELECT FROM planar.counter k JOIN planar.cell c ON c.id = k.cell
        WHERE k.id = ANY (lease.parts) AND v_delta[c.dimension + 1] <> 0
            AND planar.room(c, k, p_tenant, extend.at) < v_delta[c.dimension + 1]
    ) THEN
        verdict := 'refused';
        told := planar.seen_in_parts(lease, v_before, v_delta, at);
        RETURN;
    END IF;
    PERFORM planar.hold(lease.parts, p_tenant, v_delta, at);
    SELECT v.tokens, v.usd INTO lease.tokens_left, lease.usd_left FROM planar.headroom(p_tenant, at) AS v;
    lease.expires := at + p_ttl;
    lease.wake := lease.expires;
    UPDATE planar.lease l SET input_tokens = lease.input_tokens, output_tokens = lease.output_tokens,
        nano_usd = lease.nano_usd, expires = lease.expires, wake = lease.wake,
        tokens_left = lease.tokens_left, usd_left = lease.usd_left
    WHERE l.id = p_id;
    verdict := 'granted';
END $$;

-- What the tightest limits leave now. A window that has ended is as good as a fresh one.
CREATE FUNCTION planar.headroom(p_tenant text, p_now bigint, OUT tokens bigint, OUT usd bigint)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT min(room) FILTER (WHERE lead = 0), min(room) FILTER (WHERE lead = 1)
    INTO tokens, usd
    FROM (
        SELECT c.lead, greatest(0, CASE
            WHEN p_now < k.until THEN planar.room(c, k, p_tenant, p_now)
            WHEN c.share IS NULL OR p_tenant = c.scope THEN c.bound
            ELSE c.amount * c.share / 100 END) AS room
        FROM planar.cell c JOIN planar.counter k ON k.id = c.counter
        WHERE c.scope = ANY (planar.scopes(p_tenant)) AND c.lead < 2
        OFFSET 0
    ) AS seen;
END $$;

-- A row that is new is "made": of it is answered only what the caller cannot know.
CREATE FUNCTION planar.settle(
    p_id text, p_tenant text, p_input bigint, p_output bigint, p_usd bigint, p_flags text[],
    p_usage text, p_price text, p_metadata text, p_lazy boolean, p_now bigint,
    OUT verdict text, OUT at bigint, OUT overdrawn boolean, OUT told jsonb, OUT entry planar.ledger
) LANGUAGE plpgsql AS $$
DECLARE
    v_root text := split_part(p_tenant, '/', 1);
    v_lease planar.lease;
    v_held bigint[];
    v_actual bigint[];
    v_again record;
    v_marks record;
BEGIN
    at := planar.enter(v_root, p_now, false, p_lazy);
    SELECT * INTO v_lease FROM planar.lease l WHERE l.id = p_id AND (l.state = 'active' OR l.wake > settle.at);
    IF v_lease.id IS NULL OR v_lease.state NOT IN ('active', 'lapsed') THEN
        v_again := planar.settle_again(
            p_id, p_tenant, p_input, p_output, p_usd, p_flags, p_usage, p_price, p_metadata, at);
        verdict := CASE WHEN v_again.verdict = 'unknown' THEN coalesce(v_lease.state, 'unknown')
            ELSE v_again.verdict END;
        entry := v_again.entry;
        RETURN;
    ELSIF v_lease.tenant <> p_tenant THEN
        verdict := 'another tenant';
        RETURN;
    END IF;
    v_held := planar.costs(v_lease.input_tokens, v_lease.output_tokens, v_lease.nano_usd);
    -- Where the price is unknown budgets count what was held: never zero by ignorance.
    v_actual := (planar.costs(p_input, p_output, coalesce(p_usd, v_held[5])))[1:5] || 0::bigint;
    IF v_lease.state = 'active' THEN
        v_marks := planar.replace_hold(v_lease.parts, p_tenant, v_held, v_actual, at);
    ELSE
        v_marks := planar.amend(p_tenant, v_actual, v_lease.reserved_at, at, at);
    END IF;
    UPDATE planar.lease l SET state = 'settled', parts = '{}',
        wake = CASE WHEN l.state = 'active' THEN settle.at + 900000000 ELSE l.wake END
    WHERE l.id = p_id;
    overdrawn := v_marks.overdrawn;
    told := v_marks.alerts;
    PERFORM planar.write(v_lease, 'settled', p_input, p_output, p_usd, v_actual[5], at, at, p_flags, '',
        p_usage, p_price, p_metadata, overdrawn, told);
    verdict := 'made';
END $$;

-- The first answer stands; but what was presumed or estimated gives way, once, to the truth.
CREATE FUNCTION planar.settle_again(
    p_id text, p_tenant text, p_input bigint, p_output bigint, p_usd bigint, p_flags text[],
    p_usage text, p_price text, p_metadata text, p_now bigint,
    OUT verdict text, OUT entry planar.ledger
) LANGUAGE plpgsql AS $$
DECLARE
    v_first planar.ledger;
    v_counted record;
    v_delta bigint[];
    v_usd bigint;
    v_marks record;
BEGIN
    SELECT * INTO v_first FROM planar.ledger l WHERE l.lease_id = p_id AND l.kind IN ('settled', 'expired');
    IF NOT FOUND THEN
        verdict := 'unknown';
        RETURN;
    ELSIF v_first.tenant <> p_tenant THEN
        verdict := 'another tenant';
        RETURN;
    END IF;
    verdict := 'replayed';
    SELECT * INTO entry FROM planar.ledger l WHERE l.lease_id = p_id AND l.kind = 'correction';
    IF FOUND THEN
        RETURN;
    ELSIF v_first.kind = 'settled' AND ('estimated' = ANY (p_flags) OR 'estimated' <> ALL (v_first.flags)) THEN
        entry := v_first;
        RETURN;
    END IF;
    v_counted := planar.counted(p_id);
    -- What was refunded stays refunded: a correction takes back no more than still counts.
    v_usd := greatest(p_usd - coalesce(v_first.nano_usd, 0), CASE WHEN p_usd IS NOT NULL THEN -v_counted.usd END);
    v_delta := planar.costs(
        greatest(p_input - v_first.input_tokens, -v_counted.input_tokens),
        greatest(p_output - v_first.output_tokens, -v_counted.output_tokens), v_usd);
    entry := planar.amend_account(
        v_first, 'correction', v_delta, v_usd, p_flags, '', p_usage, p_price, p_metadata, p_now);
    verdict := 'booked';
END $$;

-- What a lease was charged, corrections and refunds included: `usd` as budgets count it, `known_usd` as it is known.
CREATE FUNCTION planar.counted(
    p_id text, OUT input_tokens bigint, OUT output_tokens bigint, OUT usd bigint, OUT known_usd bigint
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT sum(l.input_tokens)::bigint, sum(l.output_tokens)::bigint, sum(l.counted_usd)::bigint,
        coalesce(sum(l.nano_usd), 0)::bigint
    INTO input_tokens, output_tokens, usd, known_usd
    FROM planar.ledger l WHERE l.lease_id = p_id;
END $$;

-- A later row about a lease that was charged. `p_delta` has no request and no place in it.
CREATE FUNCTION planar.amend_account(
    p_first planar.ledger, p_kind text, p_delta bigint[], p_usd bigint, p_flags text[], p_reason text,
    p_usage text, p_price text, p_metadata text, p_now bigint
) RETURNS planar.ledger LANGUAGE plpgsql AS $$
DECLARE
    v_lease planar.lease;
    v_marks record;
BEGIN
    p_delta[1] := 0;
    p_delta[6] := 0;
    v_marks := planar.amend(p_first.tenant, p_delta, p_first.reserved_at, p_first.booked_at, p_now);
    v_lease.id := p_first.lease_id;
    v_lease.root := p_first.root;
    v_lease.tenant := p_first.tenant;
    v_lease.deployment := p_first.deployment;
    v_lease.reserved_at := p_first.reserved_at;
    RETURN planar.write(v_lease, p_kind, p_delta[2], p_delta[3], p_usd, p_delta[5], p_now, p_first.booked_at,
        p_flags, p_reason, p_usage, p_price, p_metadata, v_marks.overdrawn, v_marks.alerts);
END $$;

CREATE FUNCTION planar.release(p_id text, p_tenant text, p_lazy boolean, p_now bigint, OUT verdict text)
LANGUAGE plpgsql AS $$
DECLARE
    v_root text := split_part(p_tenant, '/', 1);
    v_at bigint;
    v_lease planar.lease;
BEGIN
    v_at := planar.enter(v_root, p_now, false, p_lazy);
    v_lease := planar.find(p_id, v_at);
    verdict := 'done';
    IF v_lease.id IS NULL OR v_lease.state <> 'active' THEN
        RETURN;
    ELSIF v_lease.tenant <> p_tenant THEN
        verdict := 'another tenant';
    ELSIF v_lease.dispatched THEN
        verdict := 'dispatched';
    ELSE
        PERFORM planar.replace_hold(v_lease.parts, p_tenant,
            planar.costs(v_lease.input_tokens, v_lease.output_tokens, v_lease.nano_usd), '{0,0,0,0,0,0}', v_at);
        PERFORM planar.end_lease(p_id, 'released', v_at);
    END IF;
END $$;

CREATE FUNCTION planar.refund(
    p_id text, p_input bigint, p_output bigint, p_usd bigint, p_reason text, p_lazy boolean, p_now bigint,
    OUT verdict text, OUT entry planar.ledger
) LANGUAGE plpgsql AS $$
DECLARE
    v_root text := coalesce(
        (SELECT l.root FROM planar.lease l WHERE l.id = p_id), (SELECT l.root FROM planar.ledger l WHERE l.lease_id = p_id LIMIT 1));
    v_at bigint;
    v_first planar.ledger;
    v_counted record;
BEGIN
    v_at := planar.enter(v_root, p_now, false, p_lazy);
    SELECT * INTO v_first FROM planar.ledger l WHERE l.lease_id = p_id AND l.kind IN ('settled', 'expired');
    IF NOT FOUND THEN
        verdict := 'nothing';
        RETURN;
    END IF;
    SELECT * INTO entry FROM planar.ledger l WHERE l.lease_id = p_id AND l.kind = 'refund';
    IF FOUND THEN
        verdict := CASE WHEN (entry.input_tokens, entry.output_tokens, entry.nano_usd, entry.reason) =
            (-p_input, -p_output, -p_usd, p_reason) THEN 'replayed' ELSE 'otherwise' END;
        RETURN;
    END IF;
    v_counted := planar.counted(p_id);
    IF p_input > v_counted.input_tokens OR p_output > v_counted.output_tokens OR p_usd > v_counted.known_usd THEN
        verdict := 'less';
    ELSIF (v_counted.input_tokens, v_counted.output_tokens, v_counted.usd) = (0, 0, 0) THEN
        verdict := 'nothing';
    ELSE
        entry := planar.amend_account(v_first, 'refund', planar.costs(-p_input, -p_output, -p_usd), -p_usd, '{}',
            p_reason, NULL, v_first.price, v_first.metadata, v_at);
        verdict := 'booked';
    END IF;
END $$;
