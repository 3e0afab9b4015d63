-- The arithmetic of the engine's counters. Whoever calls these has locked the tree.
--
-- Functions in plain SQL are those that the planner puts into the statement that calls them: an expression, without a
-- query, that names an argument more than once only if it is a column. One that is not inlined is planned at each call.
-- All others are PL/pgSQL, whose plans are kept.

CREATE FUNCTION planar.clock() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- The child of a scope to which a tenant belongs; null for the scope's own requests.
CREATE FUNCTION planar.child_of(p_scope text, p_tenant text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_tenant <> p_scope
        THEN p_scope || '/' || split_part(substr(p_tenant, length(p_scope) + 2), '/', 1) END
$$;

CREATE FUNCTION planar.scopes(p_tenant text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_scopes text[] := ARRAY[split_part(p_tenant, '/', 1)];
BEGIN
    WHILE v_scopes[cardinality(v_scopes)] <> p_tenant LOOP
        v_scopes := v_scopes || planar.child_of(v_scopes[cardinality(v_scopes)], p_tenant);
    END LOOP;
    RETURN v_scopes;
END $$;

-- By dimension, from 1: arrays begin there.
CREATE FUNCTION planar.costs(p_input bigint, p_output bigint, p_usd bigint) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY[1, p_input, p_output, p_input + p_output, coalesce(p_usd, 0), 1]
$$;

-- Sums stop at 2**61, far above every limit, where a bigint would overflow.
CREATE FUNCTION planar.plus(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(-2305843009213693952, least(2305843009213693952, a + b))
$$;

-- Elapsed microseconds times rate would overflow: past the time in which it runs dry there is nothing to multiply.
CREATE FUNCTION planar.drained(p_level bigint, p_at bigint, p_amount bigint, p_now bigint)
RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_now <= p_at THEN p_level
        WHEN p_now - p_at > p_level / p_amount THEN 0
        ELSE p_level - (p_now - p_at) * p_amount
    END
$$;

CREATE FUNCTION planar.poured(p_level bigint, p_cost bigint, p_unit bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(0, least(9007199254740992, p_level + p_cost::numeric * p_unit))::bigint
$$;

-- Division that rounds down below zero, too (of numbers within 2**53): they are lifted above it by whole divisors.
CREATE FUNCTION planar.divided(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (a + b * (9007199254740992 / b + 1)) / b - (9007199254740992 / b + 1)
$$;

CREATE FUNCTION planar.bucket_of(p_at bigint, p_length bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT p_at * 60 / p_length
$$;

-- What a rolling limit counts at a time: 60 whole buckets beside the one of that time.
CREATE FUNCTION planar.rolled(p_counter bigint, p_length bigint, p_now bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(sum(b.used), 0)::bigint FROM planar.bucket b
        WHERE b.counter = p_counter AND b.number >= planar.bucket_of(p_now, p_length) - 60);
END $$;

CREATE FUNCTION planar.threshold(p_amount bigint, p_percent integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (p_amount * p_percent + 99) / 100
$$;

-- From where on there is something to tell of what is used.
CREATE FUNCTION planar.notable(p_amount bigint, p_alerts integer[], p_alerted integer, p_pays boolean)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN least(
        (SELECT min(planar.threshold(p_amount, percent)) FROM unnest(p_alerts) AS percent WHERE percent > p_alerted),
        CASE WHEN p_pays THEN p_amount + 1 END,
        9223372036854775807);
END $$;

CREATE FUNCTION planar.child_held(p_counter bigint, p_name text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT s.held FROM planar.child s WHERE s.counter = p_counter AND s.name = p_name), 0);
END $$;

-- How much more a tenant could hold in a counter; below 0 where more is used than there is.
CREATE FUNCTION planar.room(c planar.cell, k planar.counter, p_tenant text, p_now bigint)
RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN c.kind = 'rate' THEN
            planar.divided(c.capacity - planar.drained(k.level, k.at, c.amount, p_now), c.unit)
        WHEN c.kind = 'rolling' THEN c.bound - planar.rolled(k.id, c.unit, p_now) - k.held
        WHEN c.share IS NULL OR p_tenant = c.scope THEN c.bound - k.used - k.held
        ELSE least(c.bound - k.used - k.held,
            greatest(0, c.amount - k.used) * c.share / 100
            - planar.child_held(k.id, planar.child_of(c.scope, p_tenant)))
    END
$$;

-- Book what was used in the bucket of a time. Old buckets go when a new one is begun.
CREATE FUNCTION planar.book(p_counter bigint, p_length bigint, p_used bigint, p_at bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_number bigint := planar.bucket_of(p_at, p_length);
BEGIN
    UPDATE planar.bucket b SET used = planar.plus(b.used, p_used) WHERE b.counter = p_counter AND b.number = v_number;
    IF NOT FOUND THEN
        INSERT INTO planar.bucket (counter, number, used) VALUES (p_counter, v_number, p_used);
        DELETE FROM planar.bucket b WHERE b.counter = p_counter AND b.number < v_number - 60;
    END IF;
END $$;

-- Hold more in these counters (which may be those of windows that have ended).
CREATE FUNCTION planar.hold(p_counters bigint[], p_tenant text, p_costs bigint[], p_now bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_shared boolean;
BEGIN
    WITH poured AS (
        UPDATE planar.counter k SET
            held = CASE WHEN c.kind = 'rate' THEN 0 ELSE planar.plus(k.held, p_costs[c.dimension + 1]) END,
            level = CASE WHEN c.kind <> 'rate' THEN 0 ELSE
                planar.poured(planar.drained(k.level, k.at, c.amount, p_now), p_costs[c.dimension + 1], c.unit) END,
            at = greatest(k.at, p_now)
        FROM planar.cell c
        WHERE k.id = ANY (p_counters) AND c.id = k.cell AND p_costs[c.dimension + 1] <> 0
        RETURNING c.share IS NOT NULL AND p_tenant <> c.scope AS shared
    )
    SELECT coalesce(bool_or(shared), false) INTO v_shared FROM poured;
    IF v_shared THEN
        PERFORM planar.hold_for_children(p_counters, p_tenant, p_costs);
    END IF;
END $$;

CREATE FUNCTION planar.hold_for_children(p_counters bigint[], p_tenant text, p_costs bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM planar.hold_for_child(k.id, planar.child_of(c.scope, p_tenant), p_costs[c.dimension + 1])
    FROM planar.counter k JOIN planar.cell c ON c.id = k.cell
    WHERE k.id = ANY (p_counters) AND c.share IS NOT NULL AND p_tenant <> c.scope;
END $$;

CREATE FUNCTION planar.hold_for_child(p_counter bigint, p_name text, p_cost bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO planar.child AS s (counter, name, held) VALUES (p_counter, p_name, p_cost)
    ON CONFLICT (counter, name) DO UPDATE SET held = planar.plus(s.held, excluded.held);
    DELETE FROM planar.child s WHERE s.counter = p_counter AND s.name = p_name AND s.held = 0;
END $$;

-- Put what was used in the place of what a lease held, in the counters in which it was reserved.
CREATE FUNCTION planar.replace_hold(
    p_parts bigint[], p_tenant text, p_held bigint[], p_actual bigint[], p_at bigint,
    OUT overdrawn boolean, OUT alerts jsonb
) LANGUAGE plpgsql AS $$
DECLARE
    v_special boolean;
    v_told bigint[];
    v_part record;
BEGIN
    overdrawn := false;
    WITH counted AS (
        UPDATE planar.counter k SET
            held = CASE WHEN c.kind = 'rate' THEN 0 ELSE planar.plus(k.held, -p_held[c.dimension + 1]) END,
            used = CASE WHEN c.kind = 'window' THEN planar.plus(k.used, p_actual[c.dimension + 1]) ELSE 0 END,
            level = CASE WHEN c.kind <> 'rate' THEN 0 ELSE planar.poured(
                planar.drained(k.level, k.at, c.amount, p_at),
                p_actual[c.dimension + 1] - p_held[c.dimension + 1], c.unit) END,
            at = greatest(k.at, p_at)
        FROM planar.cell c
        WHERE k.id = ANY (p_parts) AND c.id = k.cell
            AND (c.kind <> 'rate' OR p_actual[c.dimension + 1] <> p_held[c.dimension + 1])
        RETURNING k.id, c.kind = 'rolling' OR c.share IS NOT NULL AS special,
            c.kind = 'window' AND k.used >= k.notable AND p_actual[c.dimension + 1] > 0 AS tell
    )
    SELECT coalesce(bool_or(special), false), array_agg(id ORDER BY array_position(p_parts, id)) FILTER (WHERE tell)
    INTO v_special, v_told FROM counted;
    IF v_special THEN
        FOR v_part IN
            SELECT k.id, c.kind, c.unit, c.pays, c.amount, p_held[c.dimension + 1] AS held,
                p_actual[c.dimension + 1] AS actual, planar.child_of(c.scope, p_tenant) AS child
            FROM planar.counter k JOIN planar.cell c ON c.id = k.cell
            WHERE k.id = ANY (p_parts) AND (c.kind = 'rolling' OR c.share IS NOT NULL)
        LOOP
            IF v_part.kind = 'rolling' AND v_part.actual <> 0 THEN
                PERFORM planar.book(v_part.id, v_part.unit, v_part.actual, p_at);
                overdrawn := overdrawn OR
                    (v_part.pays AND planar.rolled(v_part.id, v_part.unit, p_at) > v_part.amount);
            ELSIF v_part.kind = 'window' AND v_part.child IS NOT NULL AND v_part.held <> 0 THEN
                PERFORM planar.hold_for_child(v_part.id, v_part.child, -v_part.held);
            END IF;
        END LOOP;
    END IF;
    IF v_told IS NOT NULL THEN
        SELECT m.overdrawn, m.alerts INTO overdrawn, alerts FROM planar.mark(v_told, overdrawn) AS m;
    END IF;
END $$;

-- Correct what a lease used, where that still counts.
CREATE FUNCTION planar.amend(
    p_tenant text, p_delta bigint[], p_reserved_at bigint, p_booked_at bigint, p_now bigint,
    OUT overdrawn boolean, OUT alerts jsonb
) LANGUAGE plpgsql AS $$
DECLARE
    v_told bigint[];
    v_cell planar.cell;
    v_delta bigint;
BEGIN
    overdrawn := false;
    WITH counted AS (
        UPDATE planar.counter k SET used = planar.plus(k.used, p_delta[c.dimension + 1])
        FROM planar.cell c
        WHERE c.scope = ANY (planar.scopes(p_tenant)) AND k.id = c.counter AND c.kind = 'window'
            AND p_now < k.until AND p_reserved_at >= k.start AND p_delta[c.dimension + 1] <> 0
        RETURNING k.id, c.lead, length(c.scope) AS depth, c.place,
            k.used >= k.notable AND p_delta[c.dimension + 1] > 0 AS tell
    )
    SELECT array_agg(id ORDER BY lead, depth, place) FILTER (WHERE tell) INTO v_told FROM counted;
    FOR v_cell IN
        SELECT * FROM planar.cell c WHERE c.scope = ANY (planar.scopes(p_tenant)) AND c.kind = 'rolling'
    LOOP
        v_delta := p_delta[v_cell.dimension + 1];
        IF v_delta <> 0 AND
            planar.bucket_of(p_booked_at, v_cell.unit) >= planar.bucket_of(p_now, v_cell.unit) - 60
        THEN
            PERFORM planar.book(v_cell.counter, v_cell.unit, v_delta, p_booked_at);
        END IF;
        overdrawn := overdrawn OR (v_delta > 0 AND v_cell.pays
            AND planar.rolled(v_cell.counter, v_cell.unit, p_now) > v_cell.amount);
    END LOOP;
    IF v_told IS NOT NULL THEN
        SELECT m.overdrawn, m.alerts INTO overdrawn, alerts FROM planar.mark(v_told, overdrawn) AS m;
    END IF;
END $$;

-- What has to be told of windows in which something was used. Each percentage is told once.
CREATE FUNCTION planar.mark(p_told bigint[], p_overdrawn boolean, OUT overdrawn boolean, OUT alerts jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    v_each record;
    v_reached integer[];
BEGIN
    overdrawn := p_overdrawn;
    FOR v_each IN
        SELECT k.id, k.used, k.start, k.alerted, c.scope, c.dimension, c.period, c.amount, c.pays, c.alerts AS percents
        FROM unnest(p_told) WITH ORDINALITY AS t (id, place)
        JOIN planar.counter k ON k.id = t.id JOIN planar.cell c ON c.id = k.cell
        ORDER BY t.place
    LOOP
        v_reached := ARRAY(
            SELECT percent FROM unnest(v_each.percents) AS percent
            WHERE percent > v_each.alerted AND v_each.used >= planar.threshold(v_each.amount, percent)
            ORDER BY percent);
        IF cardinality(v_reached) > 0 THEN
            UPDATE planar.counter k SET
                alerted = v_reached[cardinality(v_reached)],
                notable = planar.notable(
                    v_each.amount, v_each.percents, v_reached[cardinality(v_reached)], v_each.pays)
            WHERE k.id = v_each.id;
            alerts := coalesce(alerts, '[]') || (
                SELECT jsonb_agg(jsonb_build_array(v_each.scope, v_each.dimension, v_each.period, v_each.amount,
                    CASE WHEN v_each.start > -9223372036854775807 THEN v_each.start END, percent) ORDER BY percent)
                FROM unnest(v_reached) AS percent);
        END IF;
        overdrawn := overdrawn OR (v_each.pays AND v_each.used > v_each.amount);
    END LOOP;
END $$;
