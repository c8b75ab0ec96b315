"""What an operator can do: verbs that `refserverctl` and a running server share, each one transaction.

One module an area. What a verb changes it also returns as values (changes.py), for a server to apply at once.
How a verb is typed is refserver/app/commandline, how it travels wish.py and wire.py. What refserverctl needs
to talk to a running server (verb.py, wish.py, plain.py) imports no SQLAlchemy and no Twisted: that takes
longer than the answer.
"""

from __future__ import annotations

from refserver.app.verbs.verb import Done, LiveVerb, Refused, Verb

__all__ = ["Done", "LiveVerb", "Refused", "Verb"]
