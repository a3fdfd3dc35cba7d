"""The kernel's functions, in every database that holds a service."""

from django.db import migrations

CLOCK = """
CREATE TABLE messaging_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    ahead interval NOT NULL
);
COMMENT ON TABLE messaging_clock IS 'Empty, but in tests: how far messaging_now() is ahead.';

CREATE FUNCTION messaging_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS
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
    head text := format('SELECT last_value - (NOT is_called)::int FROM %I', log || '_position_seq');
BEGIN
    EXECUTE head INTO drawn;
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
    EXECUTE head INTO drawn;
    RETURN drawn;
END $$;
COMMENT ON FUNCTION messaging_horizon IS
    'The position up to which a log can be read without missing a late commit; known if in doubt. '
    'Call it in a transaction of its own, which ends the lock: a session lock would stay behind '
    'when it is granted in the instant of its time-out.';
"""

UNDO = """
DROP FUNCTION messaging_horizon;
DROP FUNCTION messaging_log_key;
DROP FUNCTION messaging_require;
DROP FUNCTION messaging_now;
DROP TABLE messaging_clock;
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.RunSQL(CLOCK + REQUIRE + HORIZON, UNDO)]
