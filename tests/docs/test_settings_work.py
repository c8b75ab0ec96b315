"""Each setting has an effect: beside each stands a test that fails without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import fields

from refserver.app.settings import Settings

TESTS = Path(__file__).parents[1]
SHOWN_BY = {
    "server.data": "unit/test_ctl_calling.py::test_the_first_use_makes_the_data_folder_for_its_owner_only",
    "server.database": "unit/test_config.py::test_what_is_planned_is_refused_by_name",
    "listen.c2s": "interop/test_process.py::test_an_address_of_another_machine_is_no_place_to_listen",
    "listen.c2s_tls": "interop/test_process.py::test_an_account_added_while_it_runs_can_log_in_and_talk",
    "listen.s2s": "interop/test_federation_dns.py::test_patrons_and_a_librarian_are_found_by_srv_records",
    "listen.s2s_tls": "interop/test_federation_dns.py::test_patrons_and_a_librarian_are_found_by_srv_records",
    "listen.component": "interop/test_components.py::test_a_patron_behind_a_gateway_asks_and_is_answered",
    "tls.certificates": (
        "server/test_reload.py::test_a_broken_certificate_costs_its_library_and_the_others_start"
    ),
    "c2s.require_tls": "server/test_hostile_connections.py::test_a_stream_without_tls_offers_nothing_but_tls",
    "c2s.plain_without_tls": "server/test_hostile_connections.py::test_nobody_authenticates_without_tls",
    "c2s.registration": "server/test_reload.py::test_settings_hold_for_new_connections_and_old_ones_live_on",
    "c2s.unauthenticated_timeout": ("interop/test_process.py::test_timers_go_on_when_the_clock_is_set_back"),
    "c2s.resume_seconds": "server/test_stream_management.py::test_what_may_be_resumed_has_a_name_and_a_time",
    "c2s.scram_iterations": (
        "server/test_feature_clients.py::test_verifiers_are_renewed_at_a_log_in_by_password"
    ),
    "c2s.scram_sha_1": "server/test_feature_clients.py::test_scram_sha_1_can_be_switched_off",
    "s2s.enabled": "unit/test_ctl_s2s.py::test_where_other_servers_are_not_talked_to_that_is_said",
    "s2s.authentication": (
        "interop/test_federation.py::"
        "test_dialback_proves_a_server_with_an_unknown_certificate_where_policy_allows_it"
    ),
    "s2s.trusted_ca": "interop/test_federation.py::test_a_certificate_of_an_unknown_authority_is_refused",
    "s2s.hosts": "unit/test_s2s_resolver.py::test_overrides_and_addresses_ask_nobody",
    "s2s.name_servers": (
        "interop/test_refserverctl_s2s.py::test_a_name_server_that_is_not_there_is_a_note_and_no_delay"
    ),
    "components.secret_files": (
        "interop/test_components.py::test_a_patron_behind_a_gateway_asks_and_is_answered"
    ),
    "limits.c2s_bytes_per_second": (
        "server/test_hostile_connections.py::test_who_sends_too_fast_is_slowed_down_and_nobody_else"
    ),
    "limits.s2s_bytes_per_second": (
        "server/test_s2s_flood.py::test_while_one_domain_floods_every_stanza_of_the_others_is_answered"
    ),
    "limits.stanza_bytes": (
        "server/test_hostile_xml.py::test_a_stanza_that_never_ends_costs_no_more_than_the_limit"
    ),
    "limits.connections_per_ip": (
        "server/test_hostile_s2s_connections.py::test_one_address_has_64_connections"
    ),
    "limits.registrations_per_ip_hour": (
        "server/test_hostile_connections.py::test_an_address_registers_five_accounts_an_hour"
    ),
    "limits.questions_per_patron_hour": (
        "server/test_reference_patron.py::test_the_hourly_limit_is_explained"
    ),
    "limits.questions_per_domain_hour": (
        "server/test_reference_storms.py::test_a_server_brings_so_many_questions_in_an_hour_and_others_go_on"
    ),
    "limits.rooms_per_account": (
        "server/test_muc_storing.py::test_one_account_makes_only_so_many_persistent_rooms"
    ),
    "log.level": "server/test_reload.py::test_the_level_of_the_log_holds_from_a_reload_on",
}


def test_each_setting_and_no_other_is_listed() -> None:
    tables = {table.name: getattr(Settings(), table.name) for table in fields(Settings)}
    keys = [f"{name}.{key.name}" for name, table in tables.items() for key in fields(type(table))]
    assert keys == list(SHOWN_BY)


@pytest.mark.parametrize("test", SHOWN_BY.values())
def test_the_test_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text("utf-8")
