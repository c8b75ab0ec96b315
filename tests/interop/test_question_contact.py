"""The queue in the patron's contact list, the desk and the questions in the librarian's."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tests.interop.peers.people import CLIENT, Person, body

_ROSTER = "{jabber:iq:roster}"
_STORAGE = "{storage:bookmarks}"


def status(presence: Element) -> tuple[str, str]:
    """Show and status text."""
    return presence.findtext(f"{CLIENT}show") or "", presence.findtext(f"{CLIENT}status") or ""


def wait_for_status(person: Person, queue: str, show: str, text: str) -> None:
    """Take presences until the queue is as wanted; a status may be told twice."""
    while status(person.wait_for_presence(queue)) != (show, text):
        pass


def roster(person: Person) -> dict[str, Element]:
    """The contact list as it is now, by address."""
    answer = person.iq("<iq type='get' id='roster-now'><query xmlns='jabber:iq:roster'/></iq>")
    return {item.get("jid", ""): item for item in answer.iter(f"{_ROSTER}item")}


def pushed(person: Person, jid: str) -> Element:
    """Wait until the contact list tells of a change of `jid`; the item."""

    def tells(stanza: Element) -> bool:
        item = stanza.find(f"{_ROSTER}query/{_ROSTER}item")
        return stanza.get("type") == "set" and item is not None and item.get("jid") == jid

    item = person.wait_for(tells).find(f"{_ROSTER}query/{_ROSTER}item")
    assert item is not None
    return item


def test_a_subscription_is_approved_at_once_and_presence_counts_librarians(library):
    """The library is a buddy: it comes and goes with its librarians, and says how many there are."""
    library.set_up(librarians=("mia", "ben"), patrons=("pat", "sue"))
    pat, sue = library.patron("pat"), library.patron("sue")
    pat.subscribe()
    pat.wait_for_presence(library.queue, "subscribed")
    wait_for_status(pat, library.queue, "xa", "Nobody at the desk, leave a message")
    assert "to" == roster(pat)[library.queue].get("subscription")

    library.librarian("mia")
    ben = library.librarian("ben")
    sue.subscribe()
    wait_for_status(sue, library.queue, "", "2 librarians, no wait")
    wait_for_status(pat, library.queue, "", "2 librarians, no wait")
    ben.leave_desk()
    wait_for_status(pat, library.queue, "", "1 librarian, no wait")


def test_presence_is_there_when_the_patron_comes_back(library):
    """A subscriber who logs in gets it, without having asked again."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    pat = library.patron("pat")
    pat.subscribe()
    pat.wait_for_presence(library.queue, "subscribed")
    pat.close()
    library.librarian("mia")
    again = library.patron("pat")
    wait_for_status(again, library.queue, "", "1 librarian, no wait")


def test_a_full_desk_is_busy(library):
    """With every librarian at her limit the presence is away; it is not when a place is free again."""
    library.set_up(librarians=("mia",), patrons=("pat", "sue"))
    library.employ("mia", max_chats=1)
    mia = library.librarian("mia")
    sue = library.patron("sue")
    sue.subscribe()
    wait_for_status(sue, library.queue, "", "1 librarian, no wait")
    pat = library.patron("pat")
    pat.ask("Is there a lift?")
    mia.take(mia.announced("Is there a lift?"))
    wait_for_status(sue, library.queue, "away", "all busy, about 5 min")
    mia.write(1, "!close 1")
    wait_for_status(sue, library.queue, "", "1 librarian, no wait")


def test_who_is_away_is_not_on_duty(library):
    """Duty is being at the desk with show none or chat."""
    library.set_up(librarians=("mia", "ben"))
    mia, ben = library.librarian("mia"), library.librarian("ben")
    for show, duty in (("dnd", "ben 0/3"), ("chat", "ben 0/3, mia 0/3"), ("xa", "ben 0/3")):
        mia.presence(pto=f"{library.desk}/mia", pshow=show)
        mia.catch_up()
        ben.say_at_desk("!who")
        assert f"On duty: {duty}" == body(ben.at_desk("On duty"))


def test_a_lost_connection_ends_duty(library):
    """Nobody is falsely online."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    pat = library.patron("pat")
    pat.subscribe()
    mia = library.librarian("mia")
    wait_for_status(pat, library.queue, "", "1 librarian, no wait")
    mia.abort()
    wait_for_status(pat, library.queue, "xa", "Nobody at the desk, leave a message")


def test_unsubscribing_ends_presence(library):
    """The contact goes, and stays away."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    pat = library.patron("pat")
    pat.subscribe()
    pat.wait_for_presence(library.queue)
    pat.presence(pto=library.queue, ptype="unsubscribe")
    pat.wait_for_presence(library.queue, "unavailable")
    pat.close()
    again = library.patron("pat")
    again.catch_up()
    assert [] == [e for e in again.received() if (e.get("from") or "").startswith(library.queue)]


def test_the_queue_has_a_card_and_an_identity(library):
    """Name and hours for the contact list; a workgroup for service discovery."""
    library.set_up(patrons=("pat",), title="Ask the Library", hours="Mon-Fri 09:00-17:00")
    pat = library.patron("pat")
    card = pat.iq(f"<iq type='get' id='card' to='{library.queue}'><vCard xmlns='vcard-temp'/></iq>")
    assert "Ask the Library" == card.findtext("{vcard-temp}vCard/{vcard-temp}FN")
    assert "Mon-Fri 09:00-17:00" == card.findtext("{vcard-temp}vCard/{vcard-temp}DESC")
    disco = "http://jabber.org/protocol/disco#info"
    found = pat.iq(f"<iq type='get' id='disco' to='{library.queue}'><query xmlns='{disco}'/></iq>")
    identity = found.find(f"{{{disco}}}query/{{{disco}}}identity")
    assert identity is not None
    assert ("collaboration", "workgroup") == (identity.get("category"), identity.get("type"))
    assert "Ask the Library" == identity.get("name")


def test_a_librarian_finds_the_desk_in_her_bookmarks(library):
    """With autojoin and her nick: her client is on duty when she logs in."""
    library.set_up(librarians=("mia",))
    mia = library.librarian("mia", at_desk=False)
    answer = mia.iq(
        "<iq type='get' id='marks'><query xmlns='jabber:iq:private'>"
        "<storage xmlns='storage:bookmarks'/></query></iq>"
    )
    (bookmark,) = answer.iter(f"{_STORAGE}conference")
    assert (library.desk, "true") == (bookmark.get("jid"), bookmark.get("autojoin"))
    assert "mia" == bookmark.findtext(f"{_STORAGE}nick")


def test_a_stranger_does_not_get_into_the_desk(library):
    """Members only: patrons neither enter nor overhear."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    pat = library.patron("pat")
    room = "http://jabber.org/protocol/muc"
    pat.send_raw(f"<presence to='{library.desk}/pat'><x xmlns='{room}'/></presence>")
    refused = pat.wait_for_presence(library.desk, "error")
    assert (
        refused.find(f"{CLIENT}error/{{urn:ietf:params:xml:ns:xmpp-stanzas}}registration-required")
        is not None
    )
    pat.message(library.desk, "!1", "groupchat")
    pat.wait_for_message_that(lambda e: e.get("type") == "error", library.desk)


def test_the_question_is_a_contact_while_it_is_hers(library):
    """In her roster, group Questions, named by its first words, present while the patron is; then it goes."""
    library.set_up(librarians=("mia",), patrons=("pat",))
    mia = library.librarian("mia")
    pat = library.patron("pat")
    pat.ask("Where is the atlas of the world, please?")
    number = mia.announced("Where is the atlas of the world, please?")
    chat = mia.chat(number)
    item = pushed(mia, chat)
    mia.take(number)
    assert "#1 Where is the atlas of the world, please?" == item.get("name")
    assert ["Questions"] == [group.text for group in item.findall(f"{_ROSTER}group")]
    assert status(mia.wait_for_presence(chat))[1].startswith("Guest ")
    pat.close()
    mia.wait_for_presence(chat, "unavailable")
    library.patron("pat")
    mia.wait_for_presence(chat)

    mia.write(number, "!close 3")
    assert "remove" == pushed(mia, chat).get("subscription")
    mia.wait_for_presence(chat, "unavailable")
    assert chat not in roster(mia)
    assert "closed" in body(mia.hears(number, "#1 is closed."))
