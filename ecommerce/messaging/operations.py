"""What the services' migrations need besides Django's own operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Model

from .tenancy import WEB_ROLE

TENANT = "nullif(current_setting('messaging.tenant', true), '')"
ASK_FOR_ROLE = (
    f"% may not make the role {WEB_ROLE}, or act as it. Let an administrator of the server run: "
    f"CREATE ROLE {WEB_ROLE} NOLOGIN; GRANT {WEB_ROLE} TO %; and migrate again."
)


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


def web_role() -> migrations.RunSQL:
    """The role as which requests of the web process act, and what it may do with our tables.

    Roles belong to the whole server. Where the migrating user may not make one, an administrator
    has to, and the migration says how.
    """
    return migrations.RunSQL(
        f"""
        DO $$
        DECLARE
            before text := current_setting('role');
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{WEB_ROLE}') THEN
                BEGIN
                    CREATE ROLE {WEB_ROLE} NOLOGIN;
                EXCEPTION WHEN duplicate_object OR unique_violation THEN
                    NULL;  -- the migration of another database on the server was faster
                END;
            END IF;
            BEGIN
                PERFORM set_config('role', '{WEB_ROLE}', true);
                PERFORM set_config('role', before, true);
            EXCEPTION WHEN insufficient_privilege THEN
                GRANT {WEB_ROLE} TO CURRENT_USER;
            END;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION '{ASK_FOR_ROLE}', quote_ident(current_user), quote_ident(current_user);
        END $$;
        GRANT USAGE ON SCHEMA public TO {WEB_ROLE};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {WEB_ROLE};
        GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {WEB_ROLE};
        ALTER DEFAULT PRIVILEGES IN SCHEMA public
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {WEB_ROLE};
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {WEB_ROLE};
        """,
        f"""
        ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM {WEB_ROLE};
        ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM {WEB_ROLE};
        REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {WEB_ROLE};
        REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {WEB_ROLE};
        REVOKE ALL ON SCHEMA public FROM {WEB_ROLE};
        """,
    )


def row_security(app_label: str, *keyed: str) -> migrations.RunPython:
    """Let requests see only their tenant's rows in this application's tables, as they are now.

    `keyed` are tables without a tenant in a column, whose `key` begins with it: `main/…`.
    A migration that makes another table with a tenant repeats the operation after that. Nothing is
    undone when migrating back: the tables' owner does not notice.
    """

    def own_rows(apps: Apps) -> dict[str, str]:
        found = dict(_own_rows(apps.get_app_config(app_label).get_models()))
        return found | dict.fromkeys(keyed, f"starts_with(key, {TENANT} || '/')")

    def protect(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
        for table, condition in own_rows(apps).items():
            editor.execute(f"""
                ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY;
                DROP POLICY IF EXISTS own_tenant ON "{table}";
                CREATE POLICY own_tenant ON "{table}" TO {WEB_ROLE} USING ({condition});
            """)

    return migrations.RunPython(protect, migrations.RunPython.noop)


def _own_rows(models: Iterable[type[Model]]) -> Iterator[tuple[str, str]]:
    """The tables whose rows belong to a tenant, each with the condition that it is one's own."""
    for model in models:
        table = model._meta.db_table
        columns = {field.name: field.column for field in model._meta.concrete_fields}
        if "tenant" in columns:
            yield table, f"{columns['tenant']} = {TENANT}"
        elif "dead_id" in columns:  # what was done with a dead letter
            letters = table.removesuffix("_action")
            yield table, f'EXISTS (SELECT FROM "{letters}" letter WHERE letter.id = dead_id)'
