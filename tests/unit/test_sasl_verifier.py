"""Verifiers: what is stored, and what is shown for accounts that do not exist."""

from __future__ import annotations

import pytest

from refserver.sasl import FakeVerifiers, InvalidPassword, check_password, make_verifiers


@pytest.fixture
def verifiers():
    return make_verifiers("pencil")


def test_there_is_a_verifier_for_each_hash(verifiers):
    assert {"SHA-1", "SHA-256"} == set(verifiers)
    assert all(name == verifier.hash_name for name, verifier in verifiers.items())
    assert all(verifier.iterations == 100_000 for verifier in verifiers.values())


def test_each_salt_is_new(verifiers):
    again = make_verifiers("pencil")
    salts = {verifier.salt for made in (verifiers, again) for verifier in made.values()}
    assert len(salts) == 4
    assert all(len(salt) == 16 for salt in salts)


@pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256"])
def test_only_the_right_password_is_accepted(verifiers, hash_name):
    assert check_password(verifiers[hash_name], "pencil")
    assert not check_password(verifiers[hash_name], "Pencil")
    assert not check_password(verifiers[hash_name], "")


def test_a_password_is_the_same_however_it_is_written(verifiers):
    assert check_password(verifiers["SHA-256"], "pen\u00adcil")


def test_an_unusable_password_makes_no_verifier():
    with pytest.raises(InvalidPassword):
        make_verifiers("bell\u0007")


def test_neither_password_nor_keys_are_shown(verifiers):
    shown = repr(verifiers["SHA-1"]) + repr(FakeVerifiers(b"k" * 32))
    assert "key" not in shown
    assert "salt" not in shown


class TestFakeVerifiers:
    fake = FakeVerifiers(b"k" * 32)

    def test_the_salt_is_stable(self):
        again = FakeVerifiers(b"k" * 32).of("nobody@a.example", "SHA-1")
        assert self.fake.of("nobody@a.example", "SHA-1") == again

    def test_the_salt_depends_on_account_domain_hash_and_key(self):
        salts = [
            self.fake.of("nobody@a.example", "SHA-1").salt,
            self.fake.of("nobody@a.example", "SHA-256").salt,
            self.fake.of("nobody@b.example", "SHA-1").salt,
            self.fake.of("anybody@a.example", "SHA-1").salt,
            FakeVerifiers(b"l" * 32).of("nobody@a.example", "SHA-1").salt,
        ]
        assert len(salts) == len(set(salts))

    @pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256"])
    def test_it_has_the_shape_of_a_real_one(self, hash_name, verifiers):
        fake, real = self.fake.of("nobody@a.example", hash_name), verifiers[hash_name]
        assert (real.hash_name, real.iterations) == (fake.hash_name, fake.iterations)
        for part in ("salt", "stored_key", "server_key"):
            assert len(getattr(real, part)) == len(getattr(fake, part))

    def test_its_parts_are_unrelated(self):
        fake = self.fake.of("nobody@a.example", "SHA-256")
        assert fake.stored_key != fake.server_key
        assert not fake.stored_key.startswith(fake.salt)
