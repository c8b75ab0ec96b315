"""Checks of the components: a domain of their own, and a secret that only the server can read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from refserver.app.checks.finding import Finding
from refserver.app.secret_files import KEY, SHORTEST, UnusableSecret, is_open, is_short, read_secret

__all__ = ["check_components"]

_LONGER: Final = "write a long random secret there, and the same at the gateway"
_SERVICES: Final = ("rooms",)  # on a subdomain of each library


def check_components(secret_files: Mapping[str, Path], libraries: Collection[str]) -> Iterator[Finding]:
    """Findings on each component; `libraries` are the domains that components cannot have."""
    taken = {*libraries, *(f"{service}.{library}" for service in _SERVICES for library in libraries)}
    for domain, file in secret_files.items():
        if domain in taken:
            yield Finding.wrong(
                KEY, f"{domain} is a library, or a service of one", "give the component another domain"
            )
        else:
            yield _look_at(domain, file)


def _look_at(domain: str, file: Path) -> Finding:
    try:
        secret = read_secret(domain, file)
    except UnusableSecret as error:
        return Finding.wrong(KEY, str(error), _LONGER)
    if is_open(file):
        return Finding.wrong(
            KEY, f"everybody on this machine can read the secret of {domain}", "chmod 600 the file"
        )
    if is_short(secret):
        return Finding.note(
            KEY, f"the secret of {domain} has fewer than {SHORTEST} characters: it can be guessed", _LONGER
        )
    return Finding.good(KEY, f"{domain} has a secret")
