-- What is read of a tree: what a refusal has to tell, where limits stand, what was used.

-- The cells without room on a path, root first, and the leases in their way.
CREATE FUNCTION planar.seen_on_path(p_root text, p_tenant text, p_costs bigint[], p_now bigint)
RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_cells json[];
    v_scopes text[];
BEGIN
    SELECT array_agg(planar.seen(c, k, p_tenant, p_now) ORDER BY s.depth, c.place),
        array_agg(DISTINCT c.scope) || array_agg(DISTINCT planar.child_of(c.scope, p_tenant)) FILTER (WHERE c.share > 0)
    INTO v_cells, v_scopes
    FROM unnest(planar.scopes(p_tenant)) WITH ORDINALITY AS s (scope, depth)
    JOIN planar.cell c ON c.scope = s.scope JOIN planar.counter k ON k.id = c.counter
    WHERE planar.room(c, k, p_tenant, p_now) < p_costs[c.dimension + 1];
    RETURN json_build_object('cells', v_cells, 'leases', planar.leases_within(p_root, v_scopes, NULL));
END $$;

-- The counters of a lease that have no room for more, in the order of its parts, and the other leases in their way.
CREATE FUNCTION planar.seen_in_parts(p_lease planar.lease, p_own bigint[], p_delta bigint[], p_now bigint)
RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_cells json[];
    v_scopes text[];
BEGIN
    SELECT array_agg(planar.seen(c, k, p_lease.tenant, p_now) ORDER BY s.place),
        array_agg(DISTINCT c.scope)
        || array_agg(DISTINCT planar.child_of(c.scope, p_lease.tenant)) FILTER (WHERE c.share > 0)
    INTO v_cells, v_scopes
    FROM unnest(p_lease.parts) WITH ORDINALITY AS s (id, place)
    JOIN planar.counter k ON k.id = s.id JOIN planar.cell c ON c.id = k.cell
    WHERE p_delta[c.dimension + 1] <> 0
        AND planar.room(c, k, p_lease.tenant, p_now) < p_delta[c.dimension + 1];
    RETURN json_build_object('cells', v_cells, 'own', p_own, 'delta', p_delta,
        'leases', planar.leases_within(p_lease.root, v_scopes, p_lease.id));
END $$;

CREATE FUNCTION planar.seen(c planar.cell, k planar.counter, p_tenant text, p_now bigint)
RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN json_build_object(
        'scope', c.scope, 'limit', c.limit_json, 'start', k.start, 'until', k.until, 'held', k.held,
        'used', CASE WHEN c.kind = 'rolling' THEN planar.rolled(k.id, c.unit, p_now) ELSE k.used END,
        'alerted', k.alerted, 'level', k.level, 'at', k.at,
        'children', CASE WHEN c.share IS NOT NULL THEN (
            SELECT json_object_agg(s.name, s.held) FROM planar.child s
            WHERE s.counter = k.id AND s.name = planar.child_of(c.scope, p_tenant)) END,
        'newest', CASE WHEN c.kind = 'rolling' THEN planar.bucket_of(p_now, c.unit) END,
        'buckets', CASE WHEN c.kind = 'rolling' THEN (
            SELECT json_agg(json_build_array(b.number, b.used) ORDER BY b.number) FROM planar.bucket b
            WHERE b.counter = k.id AND b.number >= planar.bucket_of(p_now, c.unit) - 60) END);
END $$;

-- At most so many of each scope that a flood of refusals stays cheap; the oldest. First to expire first.
CREATE FUNCTION planar.leases_within(p_root text, p_scopes text[], p_besides text)
RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT coalesce(json_agg(json_build_array(
        l.tenant, l.expires, l.reserved_at, l.dispatched, l.input_tokens, l.output_tokens, coalesce(l.nano_usd, 0)
    ) ORDER BY l.expires, l.reserved_at, l.id), '[]')
    FROM planar.lease l
    WHERE l.id IN (
        SELECT inside.id FROM unnest(p_scopes) AS s (scope), LATERAL (
            SELECT x.id FROM planar.lease x
            WHERE x.root = p_root AND x.state = 'active' AND (x.tenant = s.scope OR starts_with(x.tenant, s.scope || '/'))
                AND x.id IS DISTINCT FROM p_besides
            ORDER BY x.reserved_at, x.id LIMIT 512
        ) AS inside));
END $$;

-- End all leases of a tree whose time is over. Answers with the time.
CREATE FUNCTION planar.expire_all(p_root text, p_now bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_at bigint;
BEGIN
    v_at := planar.enter(p_root, p_now, false, true);
    PERFORM planar.sweep(p_root, v_at, NULL);
    RETURN v_at;
END $$;

-- The trees in which some lease's time is over.
CREATE FUNCTION planar.due(p_now bigint) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT t.root FROM planar.tree t
    WHERE EXISTS (
        SELECT FROM planar.lease l
        WHERE l.root = t.root AND l.wake <= greatest(t.now, coalesce(p_now, planar.clock())) AND l.state = 'active')
    ORDER BY t.root
$$;

CREATE FUNCTION planar.counts(p_scope text, p_now bigint)
RETURNS TABLE (limit_json text, used bigint, held bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_at bigint := planar.expire_all(split_part(p_scope, '/', 1), p_now);
BEGIN
    RETURN QUERY
    SELECT c.limit_json,
        CASE c.kind
            WHEN 'rate' THEN -planar.divided(-planar.drained(k.level, k.at, c.amount, v_at), c.unit)
            WHEN 'rolling' THEN planar.rolled(k.id, c.unit, v_at)
            ELSE CASE WHEN v_at < k.until THEN k.used ELSE 0 END
        END,
        CASE WHEN v_at < k.until THEN k.held ELSE 0 END
    FROM planar.cell c JOIN planar.counter k ON k.id = c.counter
    WHERE c.scope = p_scope ORDER BY c.place;
END $$;
