"""Dialback under attack (XEP-0220 4): keys of others, wrong, replayed, reflected; authorities that lie."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from refserver.s2s.dialback import MOST_KEYS_FROM_ONE
from tests.server.live import fresh_address
from tests.server.strangers import (
    LIBRARY,
    OFFER_DIALBACK,
    Stranger,
    Stream,
    Town,
    dialback,
    header,
    hole,
    message,
)


@pytest.fixture(autouse=True)
def town(believing_town: Town) -> Iterator[Town]:
    with believing_town.unharmed():
        yield believing_town


@pytest.fixture
def pat(town: Town) -> Stranger:
    return town.stranger()


@pytest.fixture
def tom(town: Town) -> Stranger:
    return town.stranger()


def key(from_: Stranger, text: str = "key", to: str = LIBRARY) -> bytes:
    return dialback("result", from_.domain, to, text)


def answered(stream: Stream) -> str:
    """Type of the answer to a key, and the condition of an error."""
    answer = stream.element()
    assert "{jabber:server:dialback}result" == answer.tag, answer.tag
    type = answer.get("type", "")
    return type if type != "error" else answer[0][0].tag.partition("}")[2]


# -- keys for others, wrong ones ---------------------------------------------------------------


def test_a_right_key_proves_the_domain_that_was_asked(town: Town, pat: Stranger) -> None:
    """The one that DNS knows, about the very stream."""
    stream = pat.secured()
    with pat.at_home() as door:
        stream.send(key(pat))
        visit = door.answer()
        assert (stream.id, "key") == visit.question()
        visit.send(dialback("verify", pat.domain, LIBRARY, id=stream.id, type="valid"))
        assert "valid" == answered(stream)
    stream.send(message(f"pat@{pat.domain}") + b"</stream:stream>")
    assert b"error" not in stream.closed()


def test_a_key_for_another_domain_is_asked_about_there(pat: Stranger, tom: Stranger) -> None:
    stream = pat.secured()
    with tom.at_home() as toms, pat.at_home() as pats:
        stream.send(key(tom))
        toms.answer().verdict("invalid")
        assert "invalid" == answered(stream)
        assert 0 == pats.visitors()
    stream.failed("not-authorized")


def test_a_key_for_another_domain_proves_that_domain_alone(pat: Stranger, tom: Stranger) -> None:
    stream = pat.secured()
    with tom.at_home() as door:
        stream.send(key(tom))
        door.answer().verdict("valid")
        assert "valid" == answered(stream)
    stream.send(message(f"pat@{pat.domain}"))
    stream.failed("invalid-from")


def test_a_spoofed_sender_ends_the_stream(pat: Stranger, tom: Stranger) -> None:
    stream = proved_by_key(pat)
    stream.send(message(f"tom@{tom.domain}"))
    stream.failed("invalid-from")


def proved_by_key(stranger: Stranger) -> Stream:
    stream = stranger.secured()
    with stranger.at_home() as door:
        stream.send(key(stranger))
        door.answer().verdict("valid")
        assert "valid" == answered(stream)
    return stream


def test_a_wrong_key_for_a_second_domain_leaves_the_first_alone(pat: Stranger, tom: Stranger) -> None:
    """Those whose stanzas go over the stream are not to suffer, but five times is enough."""
    stream = proved_by_key(pat)
    with tom.at_home() as door:
        for _ in range(5):
            stream.send(key(tom))
            door.answer().verdict("invalid")
            assert "forbidden" == answered(stream)
    stream.failed("policy-violation")


def test_our_own_domains_are_nobody_elses(town: Town, pat: Stranger) -> None:
    """Not even the key is looked at: no connection of ours comes."""
    stream = pat.secured()
    for domain in (LIBRARY, f"rooms.{LIBRARY}"):
        stream.send(dialback("result", domain, LIBRARY, "key"))
        assert "not-authorized" == answered(stream)
    stream.send(key(pat, to="elsewhere.example"))
    assert "item-not-found" == answered(stream)


def test_nothing_is_proved_while_the_question_is_open(pat: Stranger) -> None:
    stream = pat.secured()
    with pat.at_home() as door:
        stream.send(key(pat) + message(f"pat@{pat.domain}"))
        stream.failed("not-authorized")
        door.answer().hang_up()


def test_a_verdict_that_comes_too_late_proves_nothing(pat: Stranger) -> None:
    """The stream of the key is over; another one of the same server knows nothing of it."""
    stream = pat.secured()
    with pat.at_home() as door:
        stream.send(key(pat))
        visit = door.answer()
        visit.question()
        stream.hang_up()
        other = pat.secured()
        visit.send(dialback("verify", pat.domain, LIBRARY, id=stream.id, type="valid"))
        visit.expect(b"</stream:stream>")
        other.send(message(f"pat@{pat.domain}"))
        other.failed("not-authorized")


# -- replay and reflection ---------------------------------------------------------------------


def ask(stream: Stream, key: str, from_: str, id: str = "s1", to: str = LIBRARY) -> str:
    """Our answer about a key: its type, or the condition of its error."""
    stream.send(dialback("verify", from_, to, key, id=id))
    answer = stream.element()
    assert (id, from_, to) == (answer.get("id"), answer.get("to"), answer.get("from"))
    type = answer.get("type", "")
    return type if type != "error" else answer[0][0].tag.partition("}")[2]


@pytest.fixture
def ours(town: Town, pat: Stranger) -> str:
    """The key that we made for the stream s1 to pat's server."""
    with pat.at_home() as door:
        town.write_to(pat)
        return door.answer().key("s1")


def test_our_key_is_good_for_its_stream_its_domain_and_nothing_else(
    pat: Stranger, tom: Stranger, ours: str
) -> None:
    stream = pat.secured()
    assert "valid" == ask(stream, ours, pat.domain)
    assert "invalid" == ask(stream, ours, pat.domain, "s2")
    assert "invalid" == ask(stream, ours, tom.domain)
    assert "invalid" == ask(stream, ours.upper(), pat.domain)
    assert "invalid" == ask(stream, ours[:-1], pat.domain)
    assert "invalid" == ask(stream, "", pat.domain)
    assert "invalid" == ask(stream, ours, pat.domain, to=f"rooms.{LIBRARY}")
    assert "item-not-found" == ask(stream, ours, pat.domain, to=tom.domain)


def test_who_asks_about_anothers_key_learns_nothing_by_it_and_is_nobody(
    pat: Stranger, tom: Stranger, ours: str
) -> None:
    stream = tom.secured()
    assert "valid" == ask(stream, ours, pat.domain), "the asking server need not be the one of the pair"
    assert "invalid" == ask(stream, "guessed", pat.domain)
    stream.send(message(f"pat@{pat.domain}"))
    stream.failed("not-authorized")


def test_a_key_that_we_never_made_is_not_ours(pat: Stranger) -> None:
    stream = pat.secured()
    assert "invalid" == ask(stream, "f" * 64, pat.domain)
    assert "invalid" == ask(stream, "f" * 64, LIBRARY), "nor one between ourselves"


def test_our_key_sent_back_to_us_proves_nothing(pat: Stranger, ours: str) -> None:
    """Whoever is asked about it, it is not us."""
    liar = pat.connect()
    liar.send(header(LIBRARY))
    liar.failed("invalid-from")
    stream = pat.secured()
    stream.send(dialback("result", LIBRARY, LIBRARY, ours))
    assert "not-authorized" == answered(stream)
    with pat.at_home() as door:
        stream.send(key(pat, ours))
        visit = door.answer()
        assert (stream.id, ours) == visit.question()
        visit.send(dialback("verify", pat.domain, LIBRARY, id=stream.id, type="invalid"))
        assert "invalid" == answered(stream)


def test_our_key_sent_back_on_our_own_stream_ends_it(town: Town, pat: Stranger) -> None:
    with pat.at_home() as door:
        town.write_to(pat)
        visit = door.answer()
        ours = visit.key()
        visit.send(key(pat, ours))
        visit.failed("policy-violation")


# -- authorities -------------------------------------------------------------------------------


def test_an_authority_that_closes_cannot_vouch(pat: Stranger) -> None:
    stream = pat.secured()
    with pat.at_home() as door:
        stream.send(key(pat))
        door.answer().hang_up()
        assert "remote-server-timeout" == answered(stream)
    with pat.at_home() as door:
        stream.send(key(pat))
        visit = door.answer()
        visit.question()
        visit.send("</stream:stream>")
        assert "remote-server-timeout" == answered(stream)


def test_an_authority_that_is_not_there_cannot_vouch(pat: Stranger) -> None:
    stream = pat.secured()
    for _ in range(5):
        stream.send(key(pat))
        assert "remote-server-timeout" == answered(stream)
    stream.failed("policy-violation")


def test_an_authority_without_tls_is_not_asked(pat: Stranger) -> None:
    stream = pat.secured()
    with pat.at_home() as door:
        stream.send(key(pat))
        visit = door.answer()
        visit.greeted()
        visit.answer(OFFER_DIALBACK)
        assert b"</stream:stream>" == visit.closed()
        assert "remote-server-not-found" == answered(stream)


WRONG_ANSWERS = {
    "about another stream": {"id": "other"},
    "about another domain": {"from_": "n599.town.example"},
    "about another domain of ours": {"to": f"rooms.{LIBRARY}"},
    "about a key in place of a question": {"name": "result"},
}


@pytest.mark.parametrize("row", WRONG_ANSWERS)
def test_an_authority_that_answers_something_else_is_left(pat: Stranger, row: str) -> None:
    stream = pat.secured()
    with pat.at_home() as door:
        stream.send(key(pat))
        visit = door.answer()
        id, _ = visit.question()
        told = {"name": "verify", "from_": pat.domain, "to": LIBRARY, "id": id, **WRONG_ANSWERS[row]}
        visit.send(dialback(type="valid", **told))
        visit.failed("policy-violation")
        assert "remote-server-timeout" == answered(stream)


def test_an_authority_that_answers_twice_is_left_and_the_first_word_holds(pat: Stranger) -> None:
    stream = pat.secured()
    with pat.at_home() as door:
        stream.send(key(pat))
        visit = door.answer()
        id, _ = visit.question()
        word = {"from_": pat.domain, "to": LIBRARY, "id": id}
        visit.send(dialback("verify", type="invalid", **word) + dialback("verify", type="valid", **word))
        visit.expect(b"</stream:stream>")
        assert "invalid" == answered(stream)
    stream.failed("not-authorized")


# -- what we are told about our own key --------------------------------------------------------

UNKNOWN = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


def test_mia_is_told_that_our_domain_is_unknown_there(town: Town, pat: Stranger) -> None:
    with pat.at_home() as door:
        town.write_to(pat)
        visit = door.answer()
        visit.key()
        visit.send(dialback("result", pat.domain, LIBRARY, UNKNOWN, type="error"))
        visit.expect(b"</stream:stream>")
        assert "remote-server-not-found" == town.returned(pat)


def test_a_key_that_was_refused_is_followed_by_a_new_one(town: Town, pat: Stranger) -> None:
    """The other server may have had trouble in asking us."""
    with pat.at_home() as door:
        town.write_to(pat)
        visit = door.answer()
        first = visit.key("s1")
        visit.send(dialback("result", pat.domain, LIBRARY, type="invalid"))
        visit.expect(b"</stream:stream>")
        visit = door.answer()
        assert first != visit.key("s2")
        visit.send(dialback("result", pat.domain, LIBRARY, type="valid"))
        assert pat.domain.encode() in visit.expect(b"</message>")


@pytest.mark.parametrize("pair", [("n599.town.example", LIBRARY), ("{0}", f"rooms.{LIBRARY}")])
def test_a_yes_about_another_pair_is_an_attack(town: Town, pat: Stranger, pair: tuple[str, str]) -> None:
    from_, to = pair
    with pat.at_home() as door:
        town.write_to(pat)
        visit = door.answer()
        visit.key()
        visit.send(dialback("result", from_.format(pat.domain), to, type="valid"))
        visit.failed("policy-violation")


# -- how many ----------------------------------------------------------------------------------


def test_keys_for_thousands_of_domains_from_one_address_cost_little(town: Town, pat: Stranger) -> None:
    """A black hole is the authority of them all: few connections of ours go there, and others are served."""
    before = town.server.memory()
    source = fresh_address()
    with Stranger(town, 0).at_home() as nobody:
        for number in range(50):
            stream = pat.connect(source)
            stream.open()
            stream.starttls()
            keys = (dialback("result", hole(50 * number + n), LIBRARY, "k") for n in range(50))
            stream.send(b"".join(keys))
        other = town.stranger()
        assert proved_by_key(other).id
        assert 0 < nobody.visitors() <= MOST_KEYS_FROM_ONE
    assert town.server.memory() - before < 8_000_000
