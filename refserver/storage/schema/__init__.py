"""The tables, one module per aggregate, all in one `metadata`.

A module put into this package is part of the schema: it is imported here, so that
Alembic's comparison and the databases of tests see its tables. After the first release a change needs
a migration in `refserver/storage/migrations/versions/`.
"""

from __future__ import annotations

import importlib
import pkgutil

from refserver.storage.schema.base import Timestamp, metadata, owned_by

__all__ = ["Timestamp", "metadata", "owned_by"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
