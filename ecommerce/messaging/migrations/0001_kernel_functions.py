"""The kernel's functions, in every database that holds a service."""

from django.db import migrations

CLOCK = """
CREATE TABLE messaging_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    ahead interval NOT NULL
);
COMMENT ON TABLE messaging_clock IS 'Empty, but in tests: how far messaging_now() is ahead.';

-- STABLE, so that an index finds what is due by it.
CREATE FUNCTION messaging_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT clock_timestamp() + coalesce((SELECT ahead FROM messaging_clock), interval '0') $$;
COMMENT ON FUNCTION messaging_now IS 'The one clock: leases, timers, expiry and recorded_at.';
"""

REQUIRE = """
CREATE FUNCTION messaging_require(held boolean, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT coalesce(held, false) THEN
        RAISE EXCEPTION '%', what USING ERRCODE = 'MF001';
    END IF;
END $$;
COMMENT ON FUNCTION messaging_require IS 'Fails the transaction from inside a pipeline: a fence.';
"""

# A position is drawn and committed under the log's shared advisory lock. Whoever holds it
# exclusively knows that no position up to the sequence's last value is still to be committed.
HORIZON = """
CREATE FUNCTION messaging_log_key(log text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT hashtextextended(log, 7305431) $$;

CREATE FUNCTION messaging_horizon(log text, known bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    drawn bigint;
    head regclass := quote_ident(log || '_position_seq');
BEGIN
    drawn := coalesce(pg_sequence_last_value(head), 0);
    IF drawn <= known THEN
        RETURN known;
    END IF;
    IF NOT pg_try_advisory_xact_lock(messaging_log_key(log)) THEN
        BEGIN
            PERFORM set_config('lock_timeout', '50ms', true);
            PERFORM pg_advisory_xact_lock(messaging_log_key(log));
        EXCEPTION WHEN lock_not_available THEN
            RETURN known;
        END;
    END IF;
    RETURN coalesce(pg_sequence_last_value(head), 0);
END $$;
COMMENT ON FUNCTION messaging_horizon IS
    'The position up to which a log can be read without missing a late commit; known if in doubt. '
    'Call it in a transaction of its own, which ends the lock: a session lock would stay behind '
    'when it is granted in the instant of its time-out.';
"""

# The default partition takes what nobody made a partition for; made ahead, it stays empty.
DAYS = """
CREATE FUNCTION messaging_keep_days(parent text, ahead int, keep int) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    today date := (messaging_now() AT TIME ZONE 'UTC')::date;
    day date;
    old regclass;
BEGIN
    FOR day IN SELECT generate_series(today, today + ahead, interval '1 day')::date LOOP
        IF to_regclass(format('%I', parent || to_char(day, '_YYYYMMDD'))) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    parent || to_char(day, '_YYYYMMDD'), parent,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            EXCEPTION WHEN check_violation THEN
                NULL;  -- rows of that day came while nobody made partitions; they stay by default
            END;
        END IF;
    END LOOP;
    FOR old IN
        SELECT inhrelid FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE inhparent = to_regclass(format('%I', parent))
          AND c.relname ~ ('^' || parent || '_[0-9]{8}$')
          AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - keep
    LOOP
        EXECUTE format('DROP TABLE %s', old);
    END LOOP;
    EXECUTE format('DELETE FROM %I WHERE delivered_at < %L', parent || '_default', today - keep);
END $$;
COMMENT ON FUNCTION messaging_keep_days IS
    'Makes the daily partitions of the coming days and drops those of more than so many days ago.';
"""

UNDO = """
DROP FUNCTION messaging_keep_days;
DROP FUNCTION messaging_horizon;
DROP FUNCTION messaging_log_key;
DROP FUNCTION messaging_require;
DROP FUNCTION messaging_now;
DROP TABLE messaging_clock;
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.RunSQL(CLOCK + REQUIRE + HORIZON + DAYS, UNDO)]
