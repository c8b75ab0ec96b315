"""External components (XEP-0114): gateways to other networks, which attach and speak for a domain."""
