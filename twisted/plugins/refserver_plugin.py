"""Tells twistd about refserver: `twistd refserver`.

Imported by every twistd start, so it names the module that holds the options and imports nothing of it.
There must be no __init__.py in this folder or the one above: they would hide Twisted's own.
"""

from twisted.application.service import ServiceMaker

refserver = ServiceMaker(
    "refserver",
    "refserver.app.tap",
    "An XMPP server for libraries: questions from any client, answered from any client.",
    "refserver",
)
