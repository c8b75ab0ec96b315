"""What twistd sees of a configuration it cannot start with."""

from __future__ import annotations

from pathlib import Path

import pytest

from refserver.app.tap import Options, makeService


def test_a_faulty_configuration_ends_the_start_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "refserver.toml"
    file.write_text("[limits]\nstanza_bytes = -1\n")
    options = Options()
    options.parseOptions(["--config", str(file)])
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    # sys.exit prints a text to stderr and ends with status 1.
    assert caught.value.code == (
        f"refserver: {file}: limits.stanza_bytes: found -1; "
        "allowed: 0 (no limit) or a whole number from 10000 (RFC 6120, 13.12)"
    )


def test_the_file_is_looked_for_where_none_is_named() -> None:
    options = Options()
    options.parseOptions([])
    assert options["config"] is None
