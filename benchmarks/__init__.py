"""Measures refserver beside other XMPP servers: `python benchmarks/run.py`. No part of the server itself."""
