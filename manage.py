#!/usr/bin/env python
"""The command line of the platform: `python manage.py help`."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ecommerce.settings")
    if "runworker" in sys.argv:
        # Its effects run in threads, whose adapters may use the database for a moment each.
        os.environ.setdefault("DATABASE_POOL_SIZE", "16")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
