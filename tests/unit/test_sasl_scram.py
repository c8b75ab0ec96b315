"""SCRAM: the RFCs' own exchanges, an independent client, and every way to get it wrong."""

from __future__ import annotations

import base64

import pytest

from refserver.jid import JID
from refserver.sasl import (
    Challenge,
    Credentials,
    FakeVerifiers,
    NeedCredentials,
    SaslCondition,
    SaslFailure,
    Success,
    Surroundings,
    Verifier,
    begin,
    make_verifier,
    offered,
)
from tests.unit.scram_client import ScramClient

FAKE = FakeVerifiers(b"k" * 32, iterations=2)
DOMAIN = "library.example"
PAT = JID.of("pat", DOMAIN)
STORED = Credentials({name: make_verifier("secret", name, b"salt" * 4, 2) for name in ("SHA-1", "SHA-256")})
BINDINGS = {"tls-exporter": b"e" * 32, "tls-server-end-point": b"s" * 32}
HASHES = ["SHA-1", "SHA-256"]


def scram(name="SCRAM-SHA-256", bindings=(), nonce=lambda: "server"):
    data = {kind: BINDINGS[kind] for kind in bindings}
    return begin(name, Surroundings(DOMAIN, FAKE, data, offered(True, data), nonce))


def exchange(server, client, found=STORED):
    server.respond(client.first())
    challenge = server.credentials(found)
    return server.respond(client.final(challenge.data))


def refusal(act, *args):
    with pytest.raises(SaslFailure) as caught:
        act(*args)
    return caught.value.condition


@pytest.mark.parametrize(
    "hash_name, salt, client_nonce, server_nonce, proof, signature",
    [
        (  # RFC 5802 5
            "SHA-1",
            "QSXCR+Q6sek8bf92",
            "fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 3
            "SHA-256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_the_exchange_printed_in_the_rfc(hash_name, salt, client_nonce, server_nonce, proof, signature):
    stored = make_verifier("pencil", hash_name, base64.b64decode(salt), 4096)
    server = scram(f"SCRAM-{hash_name}", nonce=lambda: server_nonce)
    nonce = client_nonce + server_nonce

    assert NeedCredentials(JID.of("user", DOMAIN)) == server.respond(f"n,,n=user,r={client_nonce}".encode())
    challenge = server.credentials(Credentials({hash_name: stored}))
    assert Challenge(f"r={nonce},s={salt},i=4096".encode()) == challenge
    success = server.respond(f"c=biws,r={nonce},p={proof}".encode())
    assert Success(JID.of("user", DOMAIN), f"v={signature}".encode()) == success


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("flag", ["n", "y"])
def test_a_client_logs_in_without_channel_binding(hash_name, flag):
    client = ScramClient("pat", "secret", hash_name, flag)
    success = exchange(scram(f"SCRAM-{hash_name}"), client)
    assert success.account is PAT
    assert client.accepts(success.data)


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("kind", list(BINDINGS))
def test_a_client_logs_in_with_channel_binding(hash_name, kind):
    client = ScramClient("pat", "secret", hash_name, binding=(kind, BINDINGS[kind]))
    success = exchange(scram(f"SCRAM-{hash_name}-PLUS", BINDINGS), client)
    assert success.account is PAT
    assert client.accepts(success.data)


def test_a_client_that_cannot_bind_may_still_log_in_where_plus_is_offered():
    assert exchange(scram(bindings=BINDINGS), ScramClient("pat", "secret", flag="n")).account is PAT


def test_without_initial_response_an_empty_challenge_is_sent():
    server = scram()
    assert Challenge(b"") == server.respond(None)
    assert exchange(server, ScramClient("pat", "secret")).account is PAT


@pytest.mark.parametrize("hash_name", HASHES)
def test_a_wrong_password_is_refused(hash_name):
    client = ScramClient("pat", "Secret", hash_name)
    assert refusal(exchange, scram(f"SCRAM-{hash_name}"), client) is SaslCondition.NOT_AUTHORIZED


def test_each_server_nonce_is_new():
    nonces = set()
    for _ in range(3):
        server = begin("SCRAM-SHA-1", Surroundings(DOMAIN, FAKE, {}, ("SCRAM-SHA-1",)))
        server.respond(b"n,,n=pat,r=c1")
        challenge = server.credentials(STORED)
        assert isinstance(challenge, Challenge)
        nonces.add(challenge.data.split(b",")[0])
    assert len(nonces) == 3
    assert all(len(nonce) >= len("r=c1") + 20 for nonce in nonces)


class TestUnknownAccount:
    def test_it_gets_a_stable_salt_and_the_usual_failure(self):
        salts = set()
        for _ in range(2):
            client = ScramClient("nobody", "secret")
            assert refusal(exchange, scram(), client, None) is SaslCondition.NOT_AUTHORIZED
            salts.add(client.salt)
        assert {FAKE.of(f"nobody@{DOMAIN}", "SHA-256").salt} == salts

    def test_an_account_without_a_verifier_for_this_hash_is_as_unknown(self):
        client = ScramClient("pat", "secret", "SHA-1")
        only = Credentials({"SHA-256": STORED.verifiers["SHA-256"]})
        assert refusal(exchange, scram("SCRAM-SHA-1"), client, only) is SaslCondition.NOT_AUTHORIZED
        assert client.salt == FAKE.of(PAT.text, "SHA-1").salt

    def test_even_a_proof_that_fits_the_fake_verifier_is_refused(self, monkeypatch):
        monkeypatch.setattr(FakeVerifiers, "of", lambda self, account, hash_name: STORED.verifiers[hash_name])
        client = ScramClient("nobody", "secret")
        assert refusal(exchange, scram(), client, None) is SaslCondition.NOT_AUTHORIZED

    def test_nor_is_it_taken_for_an_account_without_a_verifier_for_this_hash(self, monkeypatch):
        monkeypatch.setattr(FakeVerifiers, "of", lambda self, account, hash_name: STORED.verifiers[hash_name])
        client = ScramClient("pat", "secret", "SHA-1")
        only = Credentials({"SHA-256": STORED.verifiers["SHA-256"]})
        assert refusal(exchange, scram("SCRAM-SHA-1"), client, only) is SaslCondition.NOT_AUTHORIZED

    def test_the_same_hashes_are_computed(self, monkeypatch):
        done: list[str] = []

        def counted(name):
            method = getattr(Verifier, name)

            def count(*args):
                done.append(name)
                return method(*args)

            monkeypatch.setattr(Verifier, name, count)

        counted("digest")
        counted("signature")
        work = []
        for found in (STORED, None):
            done.clear()
            assert refusal(exchange, scram(), ScramClient("pat", "wrong"), found)
            work.append(tuple(done))
        assert work[0] == work[1] == ("signature", "digest", "signature")


def test_a_disabled_account_is_told_so_only_with_the_right_password():
    disabled = Credentials(STORED.verifiers, disabled=True)
    right, wrong = ScramClient("pat", "secret"), ScramClient("pat", "wrong")
    assert refusal(exchange, scram(), right, disabled) is SaslCondition.ACCOUNT_DISABLED
    assert refusal(exchange, scram(), wrong, disabled) is SaslCondition.NOT_AUTHORIZED


class TestChannelBinding:
    def test_other_data_than_ours_is_refused(self):
        client = ScramClient("pat", "secret", binding=("tls-exporter", b"x" * 32))
        assert (
            refusal(exchange, scram("SCRAM-SHA-256-PLUS", BINDINGS), client) is SaslCondition.NOT_AUTHORIZED
        )

    def test_data_of_the_other_type_is_refused(self):
        client = ScramClient("pat", "secret", binding=("tls-exporter", BINDINGS["tls-server-end-point"]))
        assert (
            refusal(exchange, scram("SCRAM-SHA-256-PLUS", BINDINGS), client) is SaslCondition.NOT_AUTHORIZED
        )

    @pytest.mark.parametrize("kind", ["tls-unique", "tls-server-end-point", "x"])
    def test_a_type_without_data_is_refused(self, kind):
        server = scram("SCRAM-SHA-256-PLUS", ["tls-exporter"])
        assert refusal(server.respond, f"p={kind},,n=pat,r=c1".encode()) is SaslCondition.NOT_AUTHORIZED

    def test_a_downgrade_is_detected(self):
        """The client could bind ("y") but somebody took -PLUS off our list."""
        server = scram(bindings=["tls-exporter"])
        assert refusal(server.respond, b"y,,n=pat,r=c1") is SaslCondition.NOT_AUTHORIZED

    @pytest.mark.parametrize("flag", ["n", "y"])
    def test_plus_needs_a_binding(self, flag):
        server = scram("SCRAM-SHA-256-PLUS", BINDINGS)
        assert refusal(server.respond, f"{flag},,n=pat,r=c1".encode()) is SaslCondition.MALFORMED_REQUEST

    def test_a_binding_needs_plus(self):
        server = scram(bindings=BINDINGS)
        assert refusal(server.respond, b"p=tls-exporter,,n=pat,r=c1") is SaslCondition.MALFORMED_REQUEST

    @pytest.mark.parametrize("repeated", [b"y,,", b"n,a=pat@library.example,", b"n,,x", b""])
    def test_the_header_must_be_repeated_as_it_was(self, repeated):
        server = scram()
        client = ScramClient("pat", "secret")
        server.respond(client.first())
        challenge = server.credentials(STORED).data
        client.gs2, client.binding_data = repeated.decode(), b"" if repeated else b" "
        assert refusal(server.respond, client.final(challenge)) is SaslCondition.NOT_AUTHORIZED


class TestUsername:
    def test_comma_and_equals_sign_are_escaped(self):
        server = scram()
        assert NeedCredentials(JID.of("a,b=c", DOMAIN)) == server.respond(b"n,,n=a=2Cb=3Dc,r=c1")

    def test_an_escaped_escape_is_taken_once(self):
        assert NeedCredentials(JID.of("=2c", DOMAIN)) == scram().respond(b"n,,n==3D2C,r=c1")

    def test_it_is_prepared_as_a_localpart(self):
        assert NeedCredentials(PAT) == scram().respond("n,,n=ＰＡＴ,r=c1".encode())

    @pytest.mark.parametrize("name", ["a=b", "=2c", "=", "a=2", "=3d"])
    def test_any_other_equals_sign_is_malformed(self, name):
        assert refusal(scram().respond, f"n,,n={name},r=c1".encode()) is SaslCondition.MALFORMED_REQUEST

    @pytest.mark.parametrize("name", ["p at", "pat@library.example", "a/b", "\u202epat"])
    def test_a_name_that_no_account_can_have_is_not_authorized(self, name):
        assert refusal(scram().respond, f"n,,n={name},r=c1".encode()) is SaslCondition.NOT_AUTHORIZED


class TestAuthzid:
    def test_the_own_address_is_accepted(self):
        assert exchange(scram(), ScramClient("pat", "secret", authzid="pat@library.example")).account is PAT

    @pytest.mark.parametrize(
        "authzid", ["mia@library.example", "pat@other.example", "pat", "pat@library.example/x"]
    )
    def test_any_other_is_refused(self, authzid):
        message = f"n,a={authzid},n=pat,r=c1".encode()
        assert refusal(scram().respond, message) is SaslCondition.INVALID_AUTHZID


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=pat",
        b"n,,r=c1,n=pat",
        b"n,n=pat,r=c1",
        b"n,,n=,r=c1",
        b"n,,n=pat,r=",
        b"n,,n=pat,r=c 1",
        b"n,,n=pat,r=c1,",
        b"n,,n=pat,r=c1,x",
        b"n,,n=pat,r=c1,xx=y",
        b"n,,n=pa\0t,r=c1",
        b"n,a=,n=pat,r=c1",
        b"n,,m=ext,n=pat,r=c1",
        b"n,,n=pat,r=c1,m=ext",
        b"F,,n=pat,r=c1",
        b"p=,,n=pat,r=c1",
        b"p,,n=pat,r=c1",
        b"n,,n=pat,r=c1\xff",
        b"\xef\xbb\xbfn,,n=pat,r=c1",
        b"n,,n=pat,r=c1\n",
        b"n,,user=pat,r=c1",
    ],
)
def test_a_malformed_first_message_is_refused(message):
    assert refusal(scram().respond, message) is SaslCondition.MALFORMED_REQUEST


def test_unknown_optional_extensions_are_ignored():
    assert NeedCredentials(PAT) == scram().respond(b"n,,n=pat,r=c1,x=y,z=1")


class TestClientFinal:
    def final(self, change):
        server, client = scram(), ScramClient("pat", "secret")
        server.respond(client.first())
        final = client.final(server.credentials(STORED).data)
        changed = change(final)
        assert changed != final
        return refusal(server.respond, changed)

    @pytest.mark.parametrize(
        "change",
        [
            lambda final: b"",
            lambda final: final[2:],
            lambda final: final.replace(b",p=", b",q="),
            lambda final: final.replace(b",p=", b",m=1,p="),
            lambda final: final + b",x=y",
            lambda final: final.replace(b"c=biws", b"c=bi ws"),
            lambda final: final.replace(b"c=biws", b"c=biw"),
            lambda final: final[:-1],
            lambda final: final + b"=",
            lambda final: final + b"\0",
            lambda final: final + b"\xff",
            lambda final: final.rpartition(b"p=")[0] + b"p=",
        ],
    )
    def test_a_malformed_one_is_refused(self, change):
        assert self.final(change) is SaslCondition.MALFORMED_REQUEST

    @pytest.mark.parametrize(
        "change",
        [
            lambda final: final.replace(b"r=c1server", b"r=c1serverx"),
            lambda final: final.replace(b"r=c1server", b"r=c1"),
            lambda final: final.replace(b"r=c1server", b"r=server"),
            lambda final: final.replace(b",p=", b",x=y,p="),  # not what was signed
            lambda final: final.rpartition(b"p=")[0] + b"p=AAAA",
            lambda final: final.rpartition(b"p=")[0] + b"p==",
            lambda final: (
                final.rpartition(b"p=")[0]
                + b"p="
                + base64.b64encode(base64.b64decode(final.rpartition(b"p=")[2]) + b"x")
            ),
        ],
    )
    def test_a_wrong_one_is_not_authorized(self, change):
        assert self.final(change) is SaslCondition.NOT_AUTHORIZED

    @pytest.mark.parametrize("nonce", ["c1", "c1replay", "c1server2"])
    def test_another_nonce_is_refused_though_it_is_signed(self, nonce):
        server, client = scram(), ScramClient("pat", "secret")
        server.respond(client.first())
        challenge = server.credentials(STORED).data
        assert refusal(server.respond, client.final(challenge, nonce)) is SaslCondition.NOT_AUTHORIZED

    def test_no_message_is_a_malformed_one(self):
        server, client = scram(), ScramClient("pat", "secret")
        server.respond(client.first())
        server.credentials(STORED)
        assert refusal(server.respond, None) is SaslCondition.MALFORMED_REQUEST

    def test_the_exchange_is_over_after_it(self):
        server = scram()
        exchange(server, ScramClient("pat", "secret"))
        with pytest.raises(RuntimeError):
            server.respond(b"again")
        with pytest.raises(RuntimeError):
            server.credentials(STORED)


def test_nothing_can_be_answered_before_it_was_asked():
    with pytest.raises(RuntimeError):
        scram().credentials(STORED)
    with pytest.raises(RuntimeError):
        scram().password_checked(True)


def test_no_message_is_taken_while_credentials_are_awaited():
    server = scram()
    server.respond(b"n,,n=pat,r=c1")
    with pytest.raises(RuntimeError):
        server.respond(b"n,,n=mia,r=c1")
