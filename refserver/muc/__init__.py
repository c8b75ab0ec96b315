"""Multi-user chat (XEP-0045): one facet a file.

`service.py` owns the rooms of one domain, `room.py` is one room, `occupants.py` who is in it. `presence.py`
handles entering and leaving, `messages.py` messages and invitations, `history.py` the discussion history,
`affiliations.py` roles and affiliations changed by people, `config.py` what the room's owners do.
"""
