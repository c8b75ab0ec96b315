"""The refusals of storage; callers turn them into stanza errors or lines of text."""

from __future__ import annotations


class StorageError(Exception):
    """Base of everything that storage refuses."""


class DatabaseClosed(StorageError):
    """The job came after `Database.close`; it was not run."""


class DatabaseTooNew(StorageError):
    """The database was written by a newer refserver than this one."""


class UnsupportedDatabase(StorageError):
    """No support for this kind of database URL."""


class LibraryExists(StorageError):
    """There is a library of this domain already."""


class NoSuchLibrary(StorageError):
    """No library has this domain."""


class AccountExists(StorageError):
    """There is an account of this address already."""


class NoSuchAccount(StorageError):
    """No account has this address."""


class NoSuchRoom(StorageError):
    """No room has this address."""
