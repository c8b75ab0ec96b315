"""The reference queue: questions, who answers them, and the words both sides read.

The domain (states, verbs, commands, texts, dispatch, reports) knows no XMPP; the adapters
(patron, staff, desk, queue) translate between stanzas and verbs. What it is for and the
vocabulary: docs/architecture.md.
"""
