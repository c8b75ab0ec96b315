"""The configuration file: what is found, what is read, and how each fault is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from refserver.app.config import ConfigurationError, Problem, find, load
from refserver.app.settings import HostPort, Limits, Settings

DEFAULTS = Settings()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without a file under /etc."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("refserver.app.config.SEARCHED", (Path("refserver.toml"), tmp_path / "etc.toml"))
    return tmp_path


def written(folder: Path, text: str) -> Path:
    file = folder / "refserver.toml"
    file.write_text(text, "utf-8")
    return file


def problems(folder: Path, text: str) -> list[Problem]:
    file = written(folder, text)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert file == caught.value.file
    assert str(caught.value).splitlines() == [f"{file}: {problem}" for problem in caught.value.problems]
    return list(caught.value.problems)


def problem(folder: Path, text: str) -> Problem:
    (only,) = problems(folder, text)
    return only


class TestFinding:
    def test_a_named_file_comes_before_all_others(self, folder: Path) -> None:
        written(folder, "")
        assert folder / "other.toml" == find(Path("other.toml"))

    def test_the_working_directory_comes_before_etc(self, folder: Path) -> None:
        (folder / "etc.toml").touch()
        assert folder / "etc.toml" == find()
        written(folder, "")
        assert folder / "refserver.toml" == find()

    def test_without_a_file_data_is_in_var_and_every_listener_on_loopback(self, folder: Path) -> None:
        assert find() is None
        settings = load()
        assert folder / "var" == settings.server.data
        assert ("tcp:5222:interface=127.0.0.1",) == settings.listen.c2s
        assert ("tcp:5347:interface=127.0.0.1",) == settings.listen.component
        assert DEFAULTS.limits == settings.limits

    def test_a_named_file_that_is_missing_is_an_error(self, folder: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"missing.toml: found no readable file \(No such file"):
            load(Path("missing.toml"))


class TestReading:
    def test_an_empty_file_is_all_defaults(self, folder: Path) -> None:
        assert DEFAULTS.relative_to(folder) == load(written(folder, ""))

    def test_a_key_replaces_its_default_only(self, folder: Path) -> None:
        settings = load(written(folder, "[limits]\nconnections_per_ip = 0\n"))
        assert Limits(connections_per_ip=0) == settings.limits
        assert DEFAULTS.c2s == settings.c2s

    def test_relative_paths_are_relative_to_the_files_folder(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = written(
            folder,
            '[server]\ndata = "d"\n[tls]\ncertificates = "/etc/c"\n[s2s]\ntrusted_ca = "ca.pem"\n'
            '[listen]\nc2s = ["unix:run/c2s.sock:mode=660"]\n',
        )
        monkeypatch.chdir("/")
        settings = load(file)
        assert folder / "d" == settings.server.data
        assert Path("/etc/c") == settings.tls.certificates
        assert folder / "ca.pem" == settings.s2s.trusted_ca
        assert (f"unix:address={folder}/run/c2s.sock:mode=660",) == settings.listen.c2s

    def test_hosts_are_domains_and_where_they_are_reached(self, folder: Path) -> None:
        settings = load(
            written(folder, '[s2s.hosts]\n"Patrons.Example" = "127.0.0.2:5269"\n"b.example" = "[::1]:5270"\n')
        )
        assert settings.s2s.hosts == {
            "patrons.example": HostPort("127.0.0.2", 5269),
            "b.example": HostPort("::1", 5270),
        }
        assert "[::1]:5270" == str(settings.s2s.hosts["b.example"])

    def test_name_servers_are_addresses_with_their_ports(self, folder: Path) -> None:
        settings = load(written(folder, '[s2s]\nname_servers = ["127.0.0.2:5300", "[::1]:53"]\n'))
        assert settings.s2s.name_servers == (HostPort("127.0.0.2", 5300), HostPort("::1", 53))

    def test_components_are_domains_and_the_files_with_their_secrets(self, folder: Path) -> None:
        settings = load(
            written(folder, '[components.secret_files]\n"SMS.library.example" = "sms"\nb = "/run/b"\n')
        )
        assert settings.components.secret_files == {
            "sms.library.example": folder / "sms",
            "b": Path("/run/b"),
        }

    @pytest.mark.parametrize(
        ("text", "read"),
        [
            ('[server]\ndatabase = "sqlite"', "server.database"),
            ('[c2s]\nregistration = "open"', "c2s.registration"),
            ('[s2s]\nauthentication = "dialback"', "s2s.authentication"),
            ("[limits]\nstanza_bytes = 10000", "limits.stanza_bytes"),
            ("[c2s]\nunauthenticated_timeout = 3600", "c2s.unauthenticated_timeout"),
            ("[s2s]\nenabled = false", "s2s.enabled"),
        ],
    )
    def test_what_is_allowed_is_taken(self, folder: Path, text: str, read: str) -> None:
        table, key = read.split(".")
        value = getattr(getattr(load(written(folder, text)), table), key)
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        assert text.rpartition(" = ")[2].strip('"') == shown


class TestFaults:
    def test_an_unknown_key_is_answered_with_the_nearest_and_all_valid_ones(self, folder: Path) -> None:
        fault = problem(folder, "[c2s]\nrequire_tsl = true\n")
        assert str(fault) == (
            "c2s.require_tsl: found an unknown key, did you mean require_tls?; "
            "allowed: require_tls, plain_without_tls, registration, unauthenticated_timeout, resume_seconds, "
            "scram_iterations, scram_sha_1"
        )

    def test_an_unknown_table_is_answered_likewise(self, folder: Path) -> None:
        fault = problem(folder, "[listne]\n")
        assert fault == Problem(
            "listne",
            "an unknown key, did you mean listen?",
            "server, listen, tls, c2s, s2s, components, limits, log",
        )

    def test_a_key_like_no_other_gets_no_guess(self, folder: Path) -> None:
        assert problem(folder, "[tls]\nzzz = 1\n").found == "an unknown key"

    @pytest.mark.parametrize(
        ("text", "key", "found", "allowed"),
        [
            ("server = 5", "server", "5", "a table of data, database"),
            ("[server]\ndata = 5", "server.data", "5", "a path in quotes"),
            ('[server]\ndata = ""', "server.data", '""', "a path in quotes"),
            ("[server]\ndatabase = true", "server.database", "true", '"sqlite"'),
            ('[c2s]\nrequire_tls = "yes"', "c2s.require_tls", '"yes"', "true or false"),
            ("[c2s]\nrequire_tls = 1", "c2s.require_tls", "1", "true or false"),
            ("[limits]\nstanza_bytes = true", "limits.stanza_bytes", "true", "a whole number"),
            ("[limits]\nstanza_bytes = 2e5", "limits.stanza_bytes", "200000.0", "a whole number"),
            ('[limits]\nstanza_bytes = "1"', "limits.stanza_bytes", '"1"', "a whole number"),
            ('[listen]\nc2s = "tcp:5222"', "listen.c2s", '"tcp:5222"', "a list of texts"),
            ('[listen]\nc2s = ["tcp:1", 5222]', "listen.c2s[1]", "5222", "text in quotes"),
            ("[s2s]\ntrusted_ca = 1979-05-27", "s2s.trusted_ca", '"1979-05-27"', "a path in quotes"),
            ("[s2s]\nhosts = []", "s2s.hosts", "[]", 'a table of "domain" = "host:port"'),
            ("[s2s]\nname_servers = [53]", "s2s.name_servers[0]", "53", "text in quotes"),
            ("[s2s.hosts]\na = 5", "s2s.hosts.a", "5", 'text in quotes: "host:port"'),
            ("[s2s.hosts.a]\nb = 5", "s2s.hosts.a", "a table", 'text in quotes: "host:port"'),
            (
                "[components]\nsecret_files = 1",
                "components.secret_files",
                "1",
                'a table of "domain" = "file"',
            ),
            (
                '[components.secret_files]\n"a.b" = { secret = "x" }',
                'components.secret_files."a.b"',
                "a table",
                "a path in quotes",
            ),
        ],
    )
    def test_a_wrong_type_is_named_with_what_is_allowed(
        self, folder: Path, text: str, key: str, found: str, allowed: str
    ) -> None:
        assert Problem(key, found, allowed) == problem(folder, text)

    @pytest.mark.parametrize(
        ("text", "key", "found", "allowed"),
        [
            ('[c2s]\nregistration = "yes"', "c2s.registration", '"yes"', '"closed" or "open"'),
            ('[s2s]\nauthentication = ""', "s2s.authentication", '""', '"certificate" or "dialback"'),
            ("[limits]\nconnections_per_ip = -1", "limits.connections_per_ip", "-1", "0 (no limit)"),
            ("[limits]\nstanza_bytes = 9999", "limits.stanza_bytes", "9999", "a whole number from 10000"),
            ("[c2s]\nunauthenticated_timeout = 0", "c2s.unauthenticated_timeout", "0", "from 1 to 3600"),
            ('[server]\ndatabase = "mysql"', "server.database", '"mysql"', '"sqlite"'),
            ('[listen]\ns2s = ["tcp:99999"]', "listen.s2s[0]", '"tcp:99999"', "a port from 0 to 65535"),
            ('[listen]\ns2s = ["ssl:5269"]', "listen.s2s[0]", '"ssl:5269"', "tcp:, tcp6:, unix:, systemd:"),
            ('[s2s.hosts]\n"a b" = "c:1"', "s2s.hosts", '"a b"', "a domain"),
            ('[components.secret_files]\n"x@a" = "f"', "components.secret_files", '"x@a"', "a domain"),
            ('[s2s.hosts]\n"x@a" = "c:1"', "s2s.hosts", '"x@a"', "a domain"),
            ('[s2s.hosts]\n"a.b" = "c"', 's2s.hosts."a.b"', '"c"', "the port from 1 to 65535"),
            ('[s2s]\nname_servers = ["127.0.0.1"]', "s2s.name_servers[0]", '"127.0.0.1"', "the port from 1"),
            ('[s2s]\nname_servers = ["ns:53"]', "s2s.name_servers[0]", '"ns:53"', "an IP address"),
            ('[s2s.hosts]\na = "c:0"', "s2s.hosts.a", '"c:0"', "the port from 1 to 65535"),
            ('[s2s.hosts]\na = "::1:5269"', "s2s.hosts.a", '"::1:5269"', '"[address]:port"'),
        ],
    )
    def test_an_impossible_value_is_named_with_what_is_allowed(
        self, folder: Path, text: str, key: str, found: str, allowed: str
    ) -> None:
        fault = problem(folder, text)
        assert (key, found) == (fault.key, fault.found)
        assert allowed in fault.allowed

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("[listen]\nweb = []", "listen.web: found what is not built yet; allowed: leaving it out"),
            (
                "[listen]\nweb_tls = []",
                "listen.web_tls: found what is not built yet; allowed: leaving it out",
            ),
            ("[web]", "web: found what is not built yet; allowed: leaving it out"),
            ('[mail]\nsmtp = ""', "mail: found what is not built yet; allowed: leaving it out"),
            ('[turn]\nuri = ""', "turn: found what is not built yet; allowed: leaving it out"),
            (
                '[c2s]\nregistration = "invite"',
                'c2s.registration: found "invite", which is not built yet; allowed: "closed" or "open"',
            ),
            (
                '[server]\ndatabase = "postgresql://me:secret@db/x"',
                'server.database: found "postgresql://…", which is not built yet; allowed: "sqlite"',
            ),
        ],
    )
    def test_what_is_planned_is_refused_by_name(self, folder: Path, text: str, fault: str) -> None:
        assert fault == str(problem(folder, text))

    def test_every_table_reports_its_faults_at_once(self, folder: Path) -> None:
        found = problems(folder, "[c2s]\nregistration = 1\nrequire_tls = 2\n[limits]\nstanza_bytes = -1\n")
        assert {fault.key for fault in found} == {
            "c2s.registration",
            "c2s.require_tls",
            "limits.stanza_bytes",
        }

    def test_a_fault_in_the_toml_is_reported_with_its_line(self, folder: Path) -> None:
        assert "line 2" in problem(folder, "[c2s]\n= 5\n").found

    def test_bytes_that_are_not_utf_8_are_reported(self, folder: Path) -> None:
        file = folder / "refserver.toml"
        file.write_bytes(b"# \xff\n")
        with pytest.raises(ConfigurationError, match="a byte that is not UTF-8 at offset 2"):
            load(file)

    def test_a_password_in_a_database_url_is_not_shown(self, folder: Path) -> None:
        fault = problem(folder, '[server]\ndatabase = "mysql://me:secret@db/x"\n')
        assert '"mysql://…"' == fault.found

    def test_a_long_value_is_shortened_and_control_characters_are_escaped(self, folder: Path) -> None:
        fault = problem(folder, f'[c2s]\nregistration = "\\u001b[2J{"x" * 500}"\n')
        assert len(fault.found) == 60
        assert "\x1b" not in fault.found
