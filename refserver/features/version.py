"""Tells the server's name and version (XEP-0092). The operating system is nobody's business."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from refserver import ns
from refserver.core.feature import Feature, Request, Target, iq
from refserver.xml.element import Element, element

__all__ = ["Version", "software_version"]


@cache  # it is read from a file
def software_version() -> str:
    """The installed version of refserver."""
    try:
        return version("refserver")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "unknown"


class Version(Feature):
    """Answers jabber:iq:version at the server's own address."""

    name = "version"
    xeps = ("0092",)

    @iq("get", ns.VERSION, "query", to=Target.SERVER)
    def version(self, request: Request) -> Element:
        """Name and version."""
        name = element(ns.VERSION, "name", text="refserver")
        return element(
            ns.VERSION, "query", None, name, element(ns.VERSION, "version", text=software_version())
        )
