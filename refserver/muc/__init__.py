"""Rooms (XEP-0045): one facet a file.

`service.py` owns the rooms of a domain, `room.py` what one room is made of; who may what is
in `ranks.py`, who is there in `occupants.py`, coming and going in `entering.py`, messages in
`messages.py`, affiliations and roles changed by people in `moderation.py`, settings in
`config.py` and `owning.py`.
"""
