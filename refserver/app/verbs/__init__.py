"""What an operator can do: verbs that `refserverctl` and a running server share, each one transaction.

One module an area. What a verb changes it also returns as values (changes.py), for a server to apply at once.
How a verb is typed is refserver/app/commandline, how it travels wire.py.
"""

from __future__ import annotations

from refserver.app.verbs.changes import Change
from refserver.app.verbs.verb import Done, Refused, Verb

__all__ = ["Change", "Done", "Refused", "Verb"]
