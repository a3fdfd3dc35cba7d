"""What the services' migrations need besides Django's own operations."""

from __future__ import annotations

from django.db import migrations


def append_only(table: str) -> migrations.RunSQL:
    """Let the database refuse UPDATE and DELETE on a log.

    Only the personal column may be cleared: a person's right to be forgotten is stronger.
    """
    function = f"{table}_is_append_only"
    return migrations.RunSQL(
        f"""
        CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND NEW.personal IS NULL
               AND to_jsonb(NEW) - 'personal' = to_jsonb(OLD) - 'personal' THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'integrity_constraint_violation';
        END $$;
        CREATE TRIGGER {function} BEFORE UPDATE OR DELETE ON "{table}"
            FOR EACH ROW EXECUTE FUNCTION {function}();
        """,
        f'DROP TRIGGER {function} ON "{table}"; DROP FUNCTION {function}();',
    )


def partition_by_day(table: str, column: str) -> migrations.RunSQL:
    """Turn an empty table into one with a partition for each day of a timestamp column.

    Rows are then dropped by age, a day at a time, which leaves nothing to vacuum.
    """
    return migrations.RunSQL(
        f"""
        ALTER TABLE "{table}" RENAME TO "{table}_plain";
        CREATE TABLE "{table}" (LIKE "{table}_plain" INCLUDING DEFAULTS INCLUDING IDENTITY)
            PARTITION BY RANGE ("{column}");
        DROP TABLE "{table}_plain";
        ALTER TABLE "{table}" ADD PRIMARY KEY (id, "{column}");
        CREATE INDEX "{table}_message" ON "{table}" (message_id);
        CREATE TABLE "{table}_default" PARTITION OF "{table}" DEFAULT;
        SELECT messaging_keep_days('{table}', 1, 36500);
        """,
        migrations.RunSQL.noop,
    )
