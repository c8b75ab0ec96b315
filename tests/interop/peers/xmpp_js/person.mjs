// Somebody with @xmpp/client: lines of JSON on stdin are sent, what comes is told on stdout.
//   node person.mjs SERVICE DOMAIN USERNAME   with the password in PASSWORD
// stdin:  {"to": "ask@library.example", "body": "…"}
// stdout: {"online": JID} · {"from": JID, "type": …, "body": …, "state": …} · {"error": …}
import { createInterface } from "node:readline";
import { client, xml } from "@xmpp/client";

const [service, domain, username] = process.argv.slice(2);
const xmpp = client({ service, domain, username, password: process.env.PASSWORD });
const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const CHATSTATES = "http://jabber.org/protocol/chatstates";

xmpp.on("error", (error) => {
  tell({ error: String(error) });
  xmpp.stop().finally(() => process.exit(1)); // it would try again for ever
});

xmpp.on("online", async (jid) => {
  await xmpp.send(xml("presence"));
  tell({ online: jid.toString() });
});

xmpp.on("stanza", (stanza) => {
  if (!stanza.is("message")) return;
  const state = stanza.getChildrenByAttr("xmlns", CHATSTATES)[0];
  const { from, type } = stanza.attrs;
  tell({ from, type, body: stanza.getChildText("body"), state: state ? state.name : null });
});

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { to, body } = JSON.parse(line);
    xmpp.send(xml("message", { to, type: "chat" }, xml("body", {}, body)));
  })
  .on("close", () => xmpp.stop().finally(() => process.exit(0)));

xmpp.start().catch(() => {}); // told by "error"
