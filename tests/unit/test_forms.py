"""Data forms: what is asked, and what was filled in."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from refserver import ns
from refserver.payloads.forms import Field, FormError, boolean, form, result, submitted
from refserver.xml.element import Element
from refserver.xml.write import serialise

KIND = "urn:example:form"


def parent(inner: str) -> Element:
    return fromstring(f"<query xmlns='urn:a'>{inner}</query>")


def filled(fields: str, type: str = "submit") -> Element:
    return parent(f"<x xmlns='{ns.DATA}' type='{type}'>{fields}</x>")


def test_a_form_says_its_type_title_and_instructions_and_asks_for_its_fields() -> None:
    asked = Field("who", "list-single", "Who?", ("all",), (("all", "Everybody"), ("none", "Nobody")))
    assert (
        f"<x xmlns='{ns.DATA}' type='form'><title>T</title><instructions>I</instructions>"
        "<field var='FORM_TYPE' type='hidden'><value>urn:example:form</value></field>"
        "<field var='who' type='list-single' label='Who?'><value>all</value>"
        "<option label='Everybody'><value>all</value></option>"
        "<option label='Nobody'><value>none</value></option></field></x>"
    ) == serialise(form(KIND, [asked], "T", "I")).decode()


def test_a_form_needs_neither_title_nor_instructions() -> None:
    assert ["field", "field"] == [child.tag.partition("}")[2] for child in form(KIND, [Field("a")])]


def test_a_result_only_tells() -> None:
    told = result(KIND, [Field("a", values=("1", "2"))])
    assert "result" == told.get("type")
    assert [KIND, "1", "2"] == [value.text for value in told.iter(f"{{{ns.DATA}}}value")]


def test_what_was_filled_in_is_read_by_field() -> None:
    fields = (
        f"<field var='FORM_TYPE'><value>{KIND}</value></field>"
        "<field var='a'><value>1</value><value>2</value></field>"
        "<field var='b'/><field var='c'><value/></field>"
    )
    assert {"a": ("1", "2"), "b": (), "c": ("",)} == submitted(filled(fields), KIND)


def test_a_form_need_not_say_its_type() -> None:
    assert {"a": ("1",)} == submitted(filled("<field var='a'><value>1</value></field>"), KIND)
    assert {} == submitted(filled(""), KIND)


def test_a_cancelled_form_has_nothing_in_it() -> None:
    assert submitted(filled("<field var='a'><value>1</value></field>", "cancel"), KIND) is None


@pytest.mark.parametrize(
    "query",
    [
        parent(""),
        parent("<x xmlns='urn:b' type='submit'/>"),
        filled("", "form"),
        filled("<field var='FORM_TYPE'><value>urn:other</value></field>"),
        filled("<field var='FORM_TYPE'/>"),
    ],
)
def test_another_form_than_was_asked_for_is_refused(query: Element) -> None:
    with pytest.raises(FormError):
        submitted(query, KIND)


@pytest.mark.parametrize(
    "values, truth",
    [(("1",), True), (("true",), True), ((" 1 ",), True), (("0",), False), (("false",), False), ((), False)],
)
def test_a_boolean_has_two_spellings(values: tuple[str, ...], truth: bool) -> None:
    assert truth is boolean(values)


@pytest.mark.parametrize("value", ["yes", "TRUE", "", "2"])
def test_anything_else_is_no_boolean(value: str) -> None:
    with pytest.raises(FormError):
        boolean((value,))
