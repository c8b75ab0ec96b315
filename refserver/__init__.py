"""refserver: an XMPP server for libraries, where a patron's question finds a librarian.

Owns the version number and nothing else; the parts are described in docs/architecture.md.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
