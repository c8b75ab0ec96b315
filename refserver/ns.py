"""XML namespaces, each named once. Grouped by area; the comment names the specification."""

from __future__ import annotations

from typing import Final

# Streams (RFC 6120)
CLIENT: Final = "jabber:client"
SERVER: Final = "jabber:server"
DIALBACK: Final = "jabber:server:dialback"  # XEP-0220
FEATURE_DIALBACK: Final = "urn:xmpp:features:dialback"
BIDI: Final = "urn:xmpp:bidi"  # XEP-0288
FEATURE_BIDI: Final = "urn:xmpp:features:bidi"
COMPONENT: Final = "jabber:component:accept"  # XEP-0114
STREAM: Final = "http://etherx.jabber.org/streams"
STREAMS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
STANZAS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
SASL_CHANNEL_BINDING: Final = "urn:xmpp:sasl-cb:0"  # XEP-0440
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"
SESSION: Final = "urn:ietf:params:xml:ns:xmpp-session"  # RFC 3921, optional
SM: Final = "urn:xmpp:sm:3"  # XEP-0198
STREAM_LIMITS: Final = "urn:xmpp:stream-limits:0"  # XEP-0478
XML: Final = "http://www.w3.org/XML/1998/namespace"

# Roster and presence (RFC 6121)
ROSTER: Final = "jabber:iq:roster"
ROSTERVER: Final = "urn:xmpp:features:rosterver"
PREAPPROVAL: Final = "urn:xmpp:features:pre-approval"

# Our own
AUTOMATIC: Final = "refserver:automatic"  # marks what nobody wrote: not worth an answer by what is no person

# Discovery and simple queries
DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"  # XEP-0030
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"
PING: Final = "urn:xmpp:ping"  # XEP-0199
VERSION: Final = "jabber:iq:version"  # XEP-0092
TIME: Final = "urn:xmpp:time"  # XEP-0202
LAST: Final = "jabber:iq:last"  # XEP-0012
VCARD: Final = "vcard-temp"  # XEP-0054
PRIVATE: Final = "jabber:iq:private"  # XEP-0049
REGISTER: Final = "jabber:iq:register"  # XEP-0077
FEATURE_REGISTER: Final = "http://jabber.org/features/iq-register"
DATA: Final = "jabber:x:data"  # XEP-0004
BOOKMARKS_LEGACY: Final = "storage:bookmarks"  # XEP-0048

# Messages
DELAY: Final = "urn:xmpp:delay"  # XEP-0203
OFFLINE: Final = "msgoffline"  # XEP-0160
ARCHIVE: Final = "urn:xmpp:mam:2"  # XEP-0313
CARBONS: Final = "urn:xmpp:carbons:2"  # XEP-0280
CHATSTATES: Final = "http://jabber.org/protocol/chatstates"  # XEP-0085
RECEIPTS: Final = "urn:xmpp:receipts"  # XEP-0184
MARKERS: Final = "urn:xmpp:chat-markers:0"  # XEP-0333
HINTS: Final = "urn:xmpp:hints"  # XEP-0334
SID: Final = "urn:xmpp:sid:0"  # XEP-0359
CORRECT: Final = "urn:xmpp:message-correct:0"  # XEP-0308
REPLY: Final = "urn:xmpp:reply:0"  # XEP-0461
FALLBACK: Final = "urn:xmpp:fallback:0"  # XEP-0428
OOB: Final = "jabber:x:oob"  # XEP-0066
OMEMO: Final = "eu.siacs.conversations.axolotl"  # XEP-0384
OMEMO_2: Final = "urn:xmpp:omemo:2"
OPENPGP: Final = "urn:xmpp:openpgp:0"  # XEP-0373
OPENPGP_LEGACY: Final = "jabber:x:encrypted"  # XEP-0027

# Rooms (XEP-0045)
MUC: Final = "http://jabber.org/protocol/muc"
MUC_USER: Final = "http://jabber.org/protocol/muc#user"
MUC_ADMIN: Final = "http://jabber.org/protocol/muc#admin"
MUC_OWNER: Final = "http://jabber.org/protocol/muc#owner"
MUC_ROOMINFO: Final = "http://jabber.org/protocol/muc#roominfo"
MUC_ROOMCONFIG: Final = "http://jabber.org/protocol/muc#roomconfig"
MUC_STABLE_ID: Final = "http://jabber.org/protocol/muc#stable_id"
MUC_SELF_PING: Final = "http://jabber.org/protocol/muc#self-ping-optimization"  # XEP-0410
OCCUPANT_ID: Final = "urn:xmpp:occupant-id:0"  # XEP-0421
