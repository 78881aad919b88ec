// The TypeScript client SDK 2.x, in either era.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { asked, NotOffered, run } from "./behaviours.mjs";

const client = new Client(
  { name: "interop", version: "1.0.0" },
  { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode: asked.era } },
);
client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { value: "Ann" } }));
let transport;
if (asked.transport === "stdio") {
  const [command, ...args] = asked.command;
  transport = new StdioClientTransport({ command, args });
} else {
  const headers = { Authorization: `Bearer ${asked.key}` };
  transport = new StreamableHTTPClientTransport(new URL(asked.url), { requestInit: { headers } });
}
await client.connect(transport);
await run(client, {
  revision: asked.era === "legacy" ? "2025-11-25" : "2026-07-28",
  found: client.getNegotiatedProtocolVersion(),
  call: (params, options) => client.callTool(params, options),
  task: async () => {
    throw new NotOffered("the SDK brings no client for tasks; the Inspector's row shows the package that does");
  },
});
process.exit(0);
