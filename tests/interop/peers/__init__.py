"""Real clients and servers for the tests of tests/interop, each started, driven and ended by a class.

Nothing here asserts anything about refserver. conftest.py makes fixtures of it.
"""

from tests.interop.peers.address import ServerAddress
from tests.interop.peers.authority import TestAuthority
from tests.interop.peers.dnsmasq import Dnsmasq, Service
from tests.interop.peers.ejabberd import EjabberdServer
from tests.interop.peers.library import Library
from tests.interop.peers.people import Librarian, Patron
from tests.interop.peers.ports import free_port
from tests.interop.peers.profanity import Profanity
from tests.interop.peers.prosody import ProsodyServer
from tests.interop.peers.refserver_process import RefserverProcess
from tests.interop.peers.region import EJABBERD, LIBRARY, PROSODY, Places, Region, new_places
from tests.interop.peers.server import PeerServer
from tests.interop.peers.slixmpp_client import LoginFailed, SlixmppClient
from tests.interop.peers.slixmpp_component import SlixmppComponent
from tests.interop.peers.waiting import wait_until

__all__ = [
    "EJABBERD",
    "LIBRARY",
    "PROSODY",
    "Dnsmasq",
    "EjabberdServer",
    "Librarian",
    "Library",
    "LoginFailed",
    "Patron",
    "PeerServer",
    "Places",
    "Profanity",
    "ProsodyServer",
    "RefserverProcess",
    "Region",
    "ServerAddress",
    "Service",
    "SlixmppClient",
    "SlixmppComponent",
    "TestAuthority",
    "free_port",
    "new_places",
    "wait_until",
]
