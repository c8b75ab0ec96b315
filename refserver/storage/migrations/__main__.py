"""Write a migration: `python -m refserver.storage.migrations "questions"`.

Compares the schema of the code with an empty database brought to the newest revision, and
writes the difference to `versions/`. Read it before you commit it.
"""

from __future__ import annotations

import sys

from alembic import command

from refserver.storage import migrations, sqlite


def main(what: str) -> None:
    """Write the next revision, named `what`."""
    with sqlite.memory_engine().begin() as connection:
        migrations.upgrade(connection)
        number = f"{int(migrations.head()) + 1:04}"
        command.revision(migrations.configuration(connection), what, autogenerate=True, rev_id=number)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
