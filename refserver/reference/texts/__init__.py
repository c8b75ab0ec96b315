"""Every sentence that a patron or a librarian reads, in their language."""

from __future__ import annotations

from refserver.reference.texts.catalogue import languages
from refserver.reference.texts.patron import PatronTexts, patron_texts
from refserver.reference.texts.staff import StaffTexts, staff_texts

__all__ = ["PatronTexts", "StaffTexts", "languages", "patron_texts", "staff_texts"]
