"""Making elements and looking into them."""

from __future__ import annotations

from refserver.xml.element import child, child_text, clark, copy, element, split


def test_clark_and_split_are_each_others_inverse():
    for namespace, name in (("", "x"), ("urn:a", "x"), ("a}b", "x")):
        assert split(clark(namespace, name)) == (namespace, name)


def test_an_element_has_what_it_was_given():
    attributes = {"a": "1"}
    made = element("u", "x", attributes, element("u", "y"), element("v", "y", text="t"), text="s")
    attributes["a"] = "2"
    assert (made.tag, made.attrib, made.text, len(made)) == ("{u}x", {"a": "1"}, "s", 2)
    assert child(made, "v", "y") is made[1]
    assert child(made, "v", "z") is None
    assert (child_text(made, "v", "y"), child_text(made, "u", "y"), child_text(made, "u", "z")) == (
        "t",
        "",
        "",
    )


def test_a_copy_shares_nothing():
    original = element("u", "x", {"a": "1"}, element("u", "y", {"b": "2"}))
    original.tail = "tail"
    made = copy(original)
    made[0].set("b", "3")
    made.set("a", "4")
    assert (original.attrib, original[0].attrib, made.tail) == ({"a": "1"}, {"b": "2"}, None)
