-- A lease that pays for many requests.

-- Settle parts of what a lease holds, each as a lease of its own; then hold no more than `p_keep_*` (null: as much as
-- is left). Of each part: `p_held_*` is what was kept for it; where it is not charged, that is presumed to be used.
CREATE FUNCTION planar.split(
    p_id text, p_tenant text, p_ids text[], p_held_input bigint[], p_held_output bigint[], p_held_usd bigint[],
    p_charged boolean[], p_input bigint[], p_output bigint[], p_usd bigint[], p_flags text[], p_usage text[],
    p_price text[], p_metadata text[], p_keep_input bigint, p_keep_output bigint, p_keep_usd bigint, p_now bigint
) RETURNS TABLE (verdict text, told text, entry planar.ledger) LANGUAGE plpgsql AS $$
DECLARE
    v_at bigint;
    v_lease planar.lease;
    v_part record;
BEGIN
    v_at := planar.enter(split_part(p_tenant, '/', 1), p_now, false, false);
    v_lease := planar.whole(p_id, v_at);
    verdict := CASE WHEN v_lease.id IS NULL THEN 'unknown' WHEN v_lease.tenant <> p_tenant THEN 'another tenant' END;
    IF verdict IS NULL THEN
        SELECT 'taken', id INTO verdict, told FROM unnest(p_ids) AS id WHERE planar.is_taken(id, p_tenant, v_at) LIMIT 1;
    END IF;
    IF verdict IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    FOR i IN 1 .. cardinality(p_ids) LOOP
        v_part := planar.settle_part(
            p_id, p_ids[i], p_held_input[i], p_held_output[i], p_held_usd[i], p_charged[i], p_input[i], p_output[i],
            p_usd[i], string_to_array(p_flags[i], ','), p_usage[i], p_price[i], p_metadata[i], v_at);
        verdict := v_part.verdict;
        entry := v_part.entry;
        RETURN NEXT;
    END LOOP;
    IF p_keep_input IS NOT NULL THEN
        PERFORM planar.shrink(p_id, p_keep_input, p_keep_output, p_keep_usd, v_at);
    END IF;
END $$;

-- A lease that is alive or remembered, or what its rows say of one that was charged: those are there for ever.
CREATE FUNCTION planar.whole(p_id text, p_now bigint) RETURNS planar.lease LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_lease planar.lease := planar.find(p_id, p_now);
    v_first planar.ledger;
BEGIN
    IF v_lease.id IS NULL THEN
        SELECT * INTO v_first FROM planar.ledger l WHERE l.lease_id = p_id AND l.kind IN ('settled', 'expired');
        v_lease.id := v_first.lease_id;
        v_lease.root := v_first.root;
        v_lease.tenant := v_first.tenant;
        v_lease.deployment := v_first.deployment;
        v_lease.state := CASE v_first.kind WHEN 'expired' THEN 'charged' ELSE 'settled' END;
        v_lease.reserved_at := v_first.reserved_at;
        v_lease.expires := v_first.booked_at;
    END IF;
    RETURN v_lease;
END $$;

-- A part's id is in use unless it is that of a part, or another lease, of this tenant that has its row.
CREATE FUNCTION planar.is_taken(p_id text, p_tenant text, p_now bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_tenant text := (SELECT l.tenant FROM planar.ledger l WHERE l.lease_id = p_id LIMIT 1);
BEGIN
    IF v_tenant IS NULL THEN
        RETURN (planar.find(p_id, p_now)).id IS NOT NULL;
    END IF;
    RETURN v_tenant <> p_tenant;
END $$;

CREATE FUNCTION planar.settle_part(
    p_whole text, p_id text, p_held_input bigint, p_held_output bigint, p_held_usd bigint, p_charged boolean,
    p_input bigint, p_output bigint, p_usd bigint, p_flags text[], p_usage text, p_price text, p_metadata text,
    p_now bigint, OUT verdict text, OUT entry planar.ledger
) LANGUAGE plpgsql AS $$
DECLARE
    v_whole planar.lease;
    v_held bigint[];
    v_actual bigint[];
    v_again record;
    v_marks record;
BEGIN
    v_whole := planar.whole(p_whole, p_now);
    SELECT * INTO entry FROM planar.ledger l WHERE l.lease_id = p_id AND l.kind IN ('settled', 'expired');
    IF FOUND THEN
        verdict := 'replayed';
        IF p_charged THEN
            v_again := planar.settle_again(
                p_id, v_whole.tenant, p_input, p_output, p_usd, p_flags, p_usage, p_price, p_metadata, p_now);
            verdict := v_again.verdict;
            entry := v_again.entry;
        END IF;
        RETURN;
    END IF;
    IF v_whole.state IN ('settled', 'charged') THEN
        SELECT c.input_tokens, c.output_tokens, c.usd INTO v_whole.input_tokens, v_whole.output_tokens, v_whole.nano_usd
        FROM planar.counted(p_whole) AS c;
    END IF;
    v_held := planar.share_of(v_whole, p_held_input, p_held_output, p_held_usd);
    v_actual := planar.costs(p_input, p_output, coalesce(p_usd, v_held[5]));
    v_actual[6] := 0;
    IF v_whole.state = 'active' THEN
        v_marks := planar.give_up(v_whole, v_held, v_actual, p_now);
    ELSE
        v_marks := planar.amend(v_whole.tenant, v_actual, v_whole.reserved_at, p_now, p_now);
    END IF;
    DELETE FROM planar.lease l WHERE l.id = p_id;  -- it was forgotten
    -- In which windows it counts was decided when the whole was reserved.
    v_whole.id := p_id;
    v_whole.state := CASE WHEN p_charged THEN 'settled' ELSE 'charged' END;
    v_whole.dispatched := true;
    v_whole.asked_input := p_held_input;
    v_whole.asked_output := p_held_output;
    v_whole.asked_usd := p_held_usd;
    v_whole.input_tokens := p_held_input;
    v_whole.output_tokens := p_held_output;
    v_whole.nano_usd := p_held_usd;
    v_whole.wake := p_now + 900000000;
    v_whole.parts := '{}';
    INSERT INTO planar.lease SELECT v_whole.*;
    entry := planar.write(v_whole, CASE WHEN p_charged THEN 'settled' ELSE 'expired' END, p_input, p_output, p_usd,
        v_actual[5], p_now, p_now, p_flags, '', p_usage, p_price, p_metadata, v_marks.overdrawn, v_marks.alerts);
    verdict := 'booked';
END $$;

-- What of a part's hold a lease can give up: the request and the place stay with the lease until it ends.
CREATE FUNCTION planar.share_of(p_lease planar.lease, p_input bigint, p_output bigint, p_usd bigint)
RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_share bigint[] := planar.costs(least(p_input, p_lease.input_tokens), least(p_output, p_lease.output_tokens),
        least(coalesce(p_usd, 0), coalesce(p_lease.nano_usd, 0)));
BEGIN
    v_share[1] := 0;
    v_share[6] := 0;
    RETURN v_share;
END $$;

-- Let a lease hold less, and count what was used instead.
CREATE FUNCTION planar.give_up(
    p_lease planar.lease, p_held bigint[], p_actual bigint[], p_now bigint, OUT overdrawn boolean, OUT alerts jsonb
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT r.overdrawn, r.alerts INTO overdrawn, alerts
    FROM planar.replace_hold(p_lease.parts, p_lease.tenant, p_held, p_actual, p_now) AS r;
    UPDATE planar.lease l SET input_tokens = l.input_tokens - p_held[2], output_tokens = l.output_tokens - p_held[3],
        nano_usd = l.nano_usd - p_held[5]
    WHERE l.id = p_lease.id;
END $$;

CREATE FUNCTION planar.shrink(p_id text, p_input bigint, p_output bigint, p_usd bigint, p_now bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_lease planar.lease;
    v_held bigint[];
    v_kept bigint[];
BEGIN
    v_lease := planar.whole(p_id, p_now);
    v_held := planar.costs(v_lease.input_tokens, v_lease.output_tokens, v_lease.nano_usd);
    IF v_lease.state = 'active' AND (p_input, p_output, p_usd) = (0, 0, 0) THEN
        PERFORM planar.give_up(v_lease, v_held, '{0,0,0,0,0,0}', p_now);
        PERFORM planar.end_lease(p_id, 'released', p_now);
    ELSIF v_lease.state = 'active' THEN
        v_kept := planar.share_of(v_lease, p_input, p_output, p_usd);
        v_held[1] := 0;
        v_held[6] := 0;
        PERFORM planar.give_up(v_lease,
            ARRAY(SELECT h - k FROM unnest(v_held, v_kept) WITH ORDINALITY AS d (h, k, place) ORDER BY place),
            '{0,0,0,0,0,0}', p_now);
    ELSIF v_lease.state = 'charged' AND (p_input, p_output, p_usd) = (0, 0, 0) THEN
        -- It was presumed to be spent, and now it is known on what.
        PERFORM planar.settle_again(p_id, v_lease.tenant, 0, 0, 0, '{}', NULL, NULL, NULL, p_now);
    END IF;
END $$;
