"""What `make run` prints: who is there, and what to type into two clients to see a question answered."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["guide"]

_GUIDE: Final = """\
refserver's demonstration: the library {domain}, on this machine only.

  queue      {queue:<22} what patrons write to
  librarian  {librarian:<22} password {librarian_password}
  patron     {patron:<22} password {patron_password}

  server     127.0.0.1, port {port} (STARTTLS) or {tls_port} (TLS from the start)
  trust      {authority} (this demonstration's own certificate authority)
  data       {folder}/ (delete it to begin anew)

To see a question answered, open two terminals and start profanity in both (apt install profanity).
Any other XMPP client does, too: log in with the addresses above, server, port and trust as given.

1. As the librarian, in the first one:

     profanity
     /tls certpath set {trusted}
     /connect {librarian} server 127.0.0.1 port {port} tls force
                                   and the password {librarian_password}
     /join {room} nick {nick}
                                   the desk: being there is being on duty. It is bookmarked, so
                                   your client is in it already; this shows it.

2. As the patron, in the second one:

     profanity
     /tls certpath set {trusted}
     /connect {patron} server 127.0.0.1 port {port} tls force
                                   and the password {patron_password}
     /roster add {queue} Library
     /sub request {queue}
                                   the queue is a contact now, and says who is on duty:
     /status get {queue}
     /msg {queue} Do you have a book about bees?
                                   the question is asked; a line tells that it was received

3. As the librarian: the question is announced in the desk room. Take it, there:

     !{number}

   It has a chat of its own. What you write in it the patron reads, and you see each other typing:

     /win 1
     /msg {chat} Yes, on shelf 638. Which one are you looking for?

   The patron goes on in the chat with {queue}. To end it, type in the chat {chat}:

     !close 3

   3 is how much work it was, from 1 to 6 (READ scale). !help tells what else there is.

4. What was counted, in a third terminal:

     {python_bin}/refserverctl -c {config} report {queue}

Ctrl-C ends the server. `make run` starts it again, and everything is as you left it.
"""


def guide(
    *,
    config: Path,
    authority: Path,
    trusted: Path,
    port: int,
    queue: str,
    librarian: str,
    patron: str,
    passwords: Mapping[str, str],
    number: int,
) -> str:
    """The text, for accounts with these `passwords`; `number` is that of the next question."""
    name, _, domain = queue.partition("@")
    return _GUIDE.format(
        config=config,
        authority=authority.absolute(),
        trusted=trusted,
        folder=config.parent.absolute(),
        port=port,
        tls_port=port + 1,
        domain=domain,
        queue=queue,
        librarian=librarian,
        librarian_password=passwords[librarian],
        patron=patron,
        patron_password=passwords[patron],
        room=f"{name}@rooms.{domain}",
        nick=librarian.partition("@")[0],
        chat=f"{name}+{number}@{domain}",
        number=number,
        python_bin=Path(sys.executable).parent,
    )
