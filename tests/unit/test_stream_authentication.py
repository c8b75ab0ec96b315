"""SASL on a stream: every exchange, every failure, and the end of patience."""

from __future__ import annotations

import pytest

from refserver.jid import JID
from refserver.sasl import Credentials, SaslCondition, SaslFailure
from refserver.stream.events import (
    Authenticated,
    AuthenticationFailed,
    CredentialsWanted,
    PasswordCheckWanted,
    StreamFailed,
)
from tests.unit.stream_shell import (
    FAKE,
    HEADER,
    HOSTS,
    SASL,
    STORED,
    TLS,
    Shell,
    auth,
    authenticated,
    bound,
    header,
    log_in_with_scram,
    opened,
    plain,
    sasl,
)

PAT = JID.parse("pat@library.example")


def failure(condition: str) -> bytes:
    return f"<failure xmlns='{SASL}'><{condition}/></failure>".encode()


class TestSuccess:
    def test_plain(self):
        shell = opened()
        assert f"<success xmlns='{SASL}'/>".encode() == shell.send(plain())
        assert [CredentialsWanted, PasswordCheckWanted, Authenticated] == list(map(type, shell.events))
        assert shell.last == Authenticated(PAT, "PLAIN")
        assert shell.stream.account is PAT

    @pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256"])
    def test_scram(self, hash_name):
        shell = opened()
        answer = log_in_with_scram(shell, hash_name)
        assert answer.startswith(f"<success xmlns='{SASL}'>dj".encode())  # v=
        assert shell.last == Authenticated(PAT, f"SCRAM-{hash_name}")

    @pytest.mark.parametrize("kind", ["tls-exporter", "tls-server-end-point"])
    def test_scram_plus(self, kind):
        shell = opened()
        log_in_with_scram(shell, binding=(kind, TLS.bindings[kind]))
        assert shell.last == Authenticated(PAT, "SCRAM-SHA-256-PLUS")

    def test_after_starttls_scram_plus_binds_to_the_new_session(self):
        from tests.unit.stream_shell import STARTTLS

        shell = opened(tls=None)
        shell.send(STARTTLS)
        shell.send(HEADER)
        log_in_with_scram(shell, binding=("tls-exporter", b"e" * 32))
        assert shell.last == Authenticated(PAT, "SCRAM-SHA-256-PLUS")

    def test_without_initial_response(self):
        shell = opened()
        assert f"<challenge xmlns='{SASL}'/>".encode() == shell.send(auth("PLAIN"))
        shell.send(sasl("response", b"\0pat\0secret"))
        assert shell.last == Authenticated(PAT, "PLAIN")

    def test_the_account_is_looked_up_at_the_streams_host(self):
        shell = Shell()
        shell.send(header("other.example") + plain())
        assert shell.events[0] == CredentialsWanted(JID.parse("pat@other.example"))
        assert shell.events[0].account.localpart == "pat"
        assert shell.last.condition is SaslCondition.NOT_AUTHORIZED

    def test_a_failure_can_be_made_good(self):
        shell = opened()
        assert failure("not-authorized") == shell.send(plain(password="wrong"))
        assert b"<success " in shell.send(plain())

    def test_what_is_pipelined_behind_it_is_read_in_order(self):
        shell = opened()
        answer = shell.send(plain() + HEADER)
        assert answer.index(b"<success ") < answer.index(b"<stream:stream ") < answer.index(b"<bind ")


class TestFailure:
    @pytest.mark.parametrize(
        "element, condition",
        [
            (plain(password="wrong"), "not-authorized"),
            (plain("nobody"), "not-authorized"),
            (plain("p at"), "not-authorized"),
            (plain(authzid="mia@library.example"), "invalid-authzid"),
            (plain(""), "malformed-request"),
            (plain(password=""), "malformed-request"),
            (auth("PLAIN", b""), "malformed-request"),
            (auth("PLAIN", b"\0pat\0sec\0ret"), "malformed-request"),
            (auth("PLAIN", b"\0pat\0\xff"), "malformed-request"),
            (auth("DIGEST-MD5"), "invalid-mechanism"),
            (auth("X-OAUTH2", b"x"), "invalid-mechanism"),
            (auth(""), "invalid-mechanism"),
            (sasl("response", b"x"), "malformed-request"),
            (sasl("abort"), "aborted"),
            (f"<auth xmlns='{SASL}' mechanism='PLAIN'>AHBhdABzZWNyZXQ</auth>".encode(), "incorrect-encoding"),
            (f"<auth xmlns='{SASL}' mechanism='PLAIN'> AHBh</auth>".encode(), "incorrect-encoding"),
            (f"<auth xmlns='{SASL}' mechanism='PLAIN'>&#xe9;</auth>".encode(), "incorrect-encoding"),
            (f"<auth xmlns='{SASL}' mechanism='PLAIN'>==</auth>".encode(), "incorrect-encoding"),
            (auth("SCRAM-SHA-1", b"x"), "malformed-request"),
            (auth("SCRAM-SHA-1", b"n,,n=,r=c1"), "malformed-request"),
            (auth("SCRAM-SHA-1", b"n,,m=x,n=pat,r=c1"), "malformed-request"),
            (auth("SCRAM-SHA-1", b"n,a=mia@library.example,n=pat,r=c1"), "invalid-authzid"),
        ],
    )
    def test_it_is_told_and_the_stream_lives_on(self, element, condition):
        shell = opened()
        assert failure(condition) == shell.send(element)
        assert isinstance(shell.last, AuthenticationFailed)
        assert shell.last.condition.value == condition
        assert shell.last.attempt == 1
        assert b"<success " in shell.send(plain())

    def test_a_downgraded_channel_binding_is_refused(self):
        shell = opened()
        assert b"<not-authorized/>" in shell.send(auth("SCRAM-SHA-256", b"y,,n=pat,r=c1"))

    def test_an_exchange_can_be_aborted(self):
        shell = opened()
        shell.send(auth("SCRAM-SHA-1", b"n,,n=pat,r=c1"))
        assert failure("aborted") == shell.send(sasl("abort"))
        assert shell.last == AuthenticationFailed(PAT, "SCRAM-SHA-1", SaslCondition.ABORTED, 1)

    def test_an_exchange_begun_amid_another_fails(self):
        shell = opened()
        shell.send(auth("SCRAM-SHA-1", b"n,,n=pat,r=c1"))
        assert failure("malformed-request") == shell.send(plain())
        assert b"<success " in shell.send(plain())

    def test_a_response_after_a_failure_belongs_to_nothing(self):
        shell = opened()
        shell.send(auth("PLAIN"))
        shell.send(sasl("response", b"x"))
        assert failure("malformed-request") == shell.send(sasl("response", b"\0pat\0secret"))

    def test_an_unknown_account_is_challenged_with_a_stable_salt(self):
        challenges = set()
        for _ in range(2):
            answer = opened().send(auth("SCRAM-SHA-1", b"n,,n=nobody,r=c1"))
            from base64 import b64decode

            text = b64decode(answer.partition(b">")[2].partition(b"<")[0]).decode()
            challenges.add(text.partition(",")[2])
        assert len(challenges) == 1

    def test_an_unknown_account_costs_a_password_check_too(self):
        shell = opened()
        shell.send(plain("nobody"))
        assert [CredentialsWanted, PasswordCheckWanted, AuthenticationFailed] == list(map(type, shell.events))
        account = JID.parse("nobody@library.example")
        assert shell.last == AuthenticationFailed(account, "PLAIN", SaslCondition.NOT_AUTHORIZED, 1)

    def test_a_disabled_account_is_told_so(self):
        shell = opened()
        shell.accounts[PAT.text] = Credentials(STORED.verifiers, disabled=True)
        assert failure("account-disabled") == shell.send(plain())

    def test_what_could_not_be_looked_up_is_a_temporary_failure(self):
        shell = opened(asks=False)
        shell.send(plain())
        shell.walk(shell.stream.credentials(SaslFailure(SaslCondition.TEMPORARY_AUTH_FAILURE)))
        assert failure("temporary-auth-failure") == shell.take()

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "X"])
    def test_before_required_tls_encryption_is_asked_for(self, mechanism):
        shell = opened(tls=None)
        assert failure("encryption-required") == shell.send(auth(mechanism, b"\0pat\0secret"))

    def test_plain_needs_encryption_even_where_tls_is_optional(self):
        shell = opened(tls=None, require_tls=False)
        assert failure("encryption-required") == shell.send(plain())
        assert b"<success " in log_in_with_scram(shell)

    def test_plus_is_unknown_without_tls(self):
        shell = opened(tls=None, require_tls=False)
        answer = shell.send(auth("SCRAM-SHA-1-PLUS", b"p=tls-exporter,,n=pat,r=c1"))
        assert failure("invalid-mechanism") == answer


class TestPatience:
    def test_it_ends_with_the_fifth_failure(self):
        shell = opened()
        for attempt in range(1, 5):
            assert failure("not-authorized") == shell.send(plain(password="wrong"))
            assert shell.last.attempt == attempt
        answer = shell.send(plain(password="wrong"))
        assert answer.startswith(failure("not-authorized") + b"<stream:error><policy-violation ")
        assert answer.endswith(b"</stream:stream>")
        assert [AuthenticationFailed, StreamFailed] == list(map(type, shell.events[-2:]))
        assert shell.events[-2].attempt == 5
        assert b"" == shell.send(plain())
        assert shell.stream.account is None

    def test_any_failure_counts(self):
        shell = opened()
        shell.send(sasl("abort") + auth("X") + sasl("response") + auth("PLAIN", b"") + plain("nobody"))
        assert shell.condition == "policy-violation"

    def test_it_is_the_operators_choice(self):
        shell = opened(max_auth_attempts=1)
        shell.send(plain(password="wrong"))
        assert shell.condition == "policy-violation"


class TestOrder:
    @pytest.mark.parametrize("kind", ["message", "presence", "iq"])
    def test_a_stanza_before_it_is_not_authorized(self, kind):
        shell = opened()
        answer = shell.send(f"<{kind} type='get' id='1'><x xmlns='urn:x'/></{kind}>".encode())
        assert shell.condition == "not-authorized"
        assert answer.endswith(b"</stream:error></stream:stream>")

    def test_a_stanza_amid_it_is_not_authorized(self):
        shell = opened()
        shell.send(auth("PLAIN") + b"<presence/>")
        assert shell.condition == "not-authorized"

    @pytest.mark.parametrize("element", [b"<x xmlns='urn:x'/>", b"<x/>", b"<message xmlns='jabber:server'/>"])
    def test_what_is_no_stanza_is_unsupported(self, element):
        shell = opened()
        shell.send(element)
        assert shell.condition == "unsupported-stanza-type"

    @pytest.mark.parametrize("element", [plain(), auth("X"), sasl("response"), sasl("abort")])
    @pytest.mark.parametrize("make", [authenticated, bound])
    def test_a_second_one_closes_the_stream(self, make, element):
        shell = make()
        answer = shell.send(element)
        assert shell.condition == "policy-violation"
        assert b"<success" not in answer

    def test_after_it_only_a_header_may_come(self):
        shell = opened()
        answer = shell.send(plain() + plain())
        assert b"<stream:stream " in answer
        assert shell.condition == "invalid-namespace"

    @pytest.mark.parametrize("to", ["other.example", "unknown.example"])
    def test_after_it_the_host_cannot_be_changed(self, to):
        shell = opened()
        shell.send(plain() + header(to))
        assert shell.condition == ("not-authorized" if to == "other.example" else "host-unknown")

    def test_the_limits_are_tight_before_and_wide_after(self):
        shell = opened()
        shell.send(auth("PLAIN", b"x" * 10_000))
        assert shell.condition == "policy-violation"
        shell = bound()
        shell.send(b"<message><body>" + b"x" * 200_000 + b"</body></message>")
        assert len(shell.stanzas) == 1
        shell.send(b"<message><body>" + b"x" * 262_144)
        assert shell.condition == "policy-violation"


class TestWaiting:
    def test_input_is_kept_while_credentials_are_looked_up(self):
        shell = opened(asks=False)
        assert b"" == shell.send(auth("SCRAM-SHA-1", b"n,,n=pat,r=c1") + sasl("abort"))
        assert b"" == shell.send(sasl("abort"))
        assert len(shell.events) == 1
        shell.walk(shell.stream.credentials(STORED))
        assert [1, 2] == [event.attempt for event in shell.events[1:]]

    def test_an_answer_given_later_is_as_good(self):
        shell = opened(asks=False)
        shell.send(plain() + HEADER)
        shell.walk(shell.stream.credentials(STORED))
        assert isinstance(shell.last, PasswordCheckWanted)
        assert b"" == shell.take()
        shell.walk(shell.stream.password_checked(True))
        answer = shell.take()
        assert b"<success " in answer
        assert b"<bind " in answer

    def test_what_is_kept_is_limited(self):
        shell = opened(asks=False)
        shell.send(plain())
        for _ in range(10):
            shell.send(b" " * 1_000)
            assert not shell.condition
        shell.send(b" ")
        assert shell.condition == "policy-violation"
        assert [] == list(shell.stream.credentials(STORED))

    def test_what_is_kept_is_limited_even_where_stanzas_are_not(self):
        from refserver.stream.client import ClientStream
        from refserver.stream.policy import StreamPolicy
        from refserver.xml import Limits

        shell = Shell(asks=False)
        unlimited = StreamPolicy(Limits(0), Limits(0))
        shell.stream = ClientStream(HOSTS.__contains__, unlimited, FAKE, tls=TLS)
        shell.send(HEADER + plain())
        shell.send(b" " * (1 << 20))
        assert not shell.stream.closed
        shell.send(b" ")
        assert shell.condition == "policy-violation"

    def test_an_answer_comes_too_late_on_a_closed_stream(self):
        shell = opened(asks=False)
        shell.send(plain())
        shell.stream.close()
        shell.take()
        assert [] == list(shell.stream.credentials(STORED))
        assert [] == list(shell.stream.password_checked(True))
        assert b"" == shell.take()
        assert shell.stream.account is None

    def test_an_answer_that_nobody_asked_for_is_a_fault_of_ours(self):
        shell = opened()
        for answer in (lambda: shell.stream.credentials(None), lambda: shell.stream.password_checked(True)):
            with pytest.raises(RuntimeError):
                answer()

    def test_the_question_does_not_show_the_password(self):
        shell = opened()
        shell.send(plain())
        assert "secret" not in repr(shell.events)
