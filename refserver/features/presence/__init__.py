"""Presence: broadcast, directed, probes, and who may see it (RFC 6121 3 and 4)."""

from __future__ import annotations

from refserver.features.presence.presence import Presence

__all__ = ["Presence"]
