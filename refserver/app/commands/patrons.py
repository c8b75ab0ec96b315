"""refserverctl patron and transcript: forget what patrons said, and who they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import click
from attrs import frozen

from refserver.app.commands.context import DAY, Context, command, confirm, pass_context
from refserver.app.commands.late import Connection, RunningServer, hooks, privacy, questions, queues
from refserver.app.commands.request import Done, Request, bare_address, day_of, queue_at, served_domain
from refserver.jid import JID


@click.group()
def patron() -> None:
    """Patrons: what is kept of them."""


@command(patron, done="jid", sure="Forget {jid}: end the open questions, and delete all that was said?")
@frozen
class ForgetPatron(Request):
    """Delete all words of a patron and all links to her, at every queue, at once. Open questions end."""

    words: ClassVar[str] = "patron forget"
    jid: str

    def run(self, connection: Connection, now: float) -> Done:
        """There need be no account: patrons have theirs elsewhere."""
        jid = bare_address(self.jid)
        asked_at = {question.queue_id for question in questions.all_of_patron(connection, jid)}
        libraries = {queues.get(connection, queue).jid.domainpart for queue in asked_at}
        forgotten = privacy.forget_patron(connection, jid, now)
        data = {
            "jid": jid.text,
            "questions": forgotten.questions,
            "ended": len(forgotten.ended),
            "messages": forgotten.messages,
            "subscriptions": forgotten.subscriptions,
            "done": "forgotten",
        }
        changed = [hooks.QueuesChanged(domain) for domain in sorted(libraries)]
        return Done(data, (hooks.PatronForgotten(jid), *changed))

    async def apply(self, server: RunningServer, done: Done) -> Any:
        """No copy is left in the database's log."""
        await super().apply(server, done)
        await server.core.offload(server.core.database.empty_log_now)
        return done.data


@frozen
class PurgeTranscripts(Request):
    """Delete what was said in questions that ended before a day (ISO date, UTC): a bounded part at a time.

    `of` is a queue, a library, or "*" for all libraries. Repeat it until `messages` is 0.
    """

    words: ClassVar[str] = "transcript purge"
    of: str
    before: str

    def run(self, connection: Connection, now: float) -> Done:
        if self.of == "*":
            where = None
        elif "@" in self.of:
            where = queue_at(connection, self.of).jid
        else:
            where = JID.parse(served_domain(connection, self.of))
        end = datetime.combine(day_of(self.before), datetime.min.time(), UTC).timestamp()
        return Done(
            {"of": self.of, "messages": privacy.purge_transcripts(connection, where, end), "done": "purged"}
        )

    async def apply(self, server: RunningServer, done: Done) -> Any:
        """No copy is left in the database's log."""
        if not done.data["messages"]:
            await server.core.offload(server.core.database.empty_log_now)
        return done.data


# -- what is typed -------------------------------------------------------------------


@click.group()
def transcript() -> None:
    """Transcripts: the words that were said in questions."""


@transcript.command("purge")
@click.argument("of", metavar="QUEUE|DOMAIN")
@click.option(
    "--before",
    required=True,
    type=DAY,
    metavar="DAY",
    help="Of questions that ended before this day, like 2026-01-31 (UTC).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def purge(context: Context, of: str, before: datetime, yes: bool) -> None:
    """Delete what was said in questions that are over, whatever the queue's policy keeps. Statistics stay."""
    confirm(f"Delete what was said at {of} in questions that ended before {before:%Y-%m-%d}?", yes=yes)
    request, caller = PurgeTranscripts(of, before.date().isoformat()), context.caller
    data = caller.call(request)
    last = data["messages"]
    while last:
        last = caller.call(request)["messages"]
        data["messages"] += last
    context.say_done(data, "of")
