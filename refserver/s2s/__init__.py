"""Federation: streams to and from other servers, found through DNS, proved by certificate or dialback."""
