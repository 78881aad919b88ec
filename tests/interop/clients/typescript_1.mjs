// The TypeScript SDK 1.x as a client.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { asked, NotOffered, run } from "./behaviours.mjs";

const client = new Client({ name: "interop", version: "1.0.0" }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { value: "Ann" } }));
let transport;
if (asked.transport === "stdio") {
  const [command, ...args] = asked.command;
  transport = new StdioClientTransport({ command, args });
} else {
  const headers = { Authorization: `Bearer ${asked.key}` };
  transport = new StreamableHTTPClientTransport(new URL(asked.url), { requestInit: { headers } });
}
let revision;
transport.setProtocolVersion = ((before) => (version) => {
  revision = version;
  before?.call(transport, version);
})(transport.setProtocolVersion);
await client.connect(transport);
await run(client, {
  revision: "2025-11-25",
  found: revision,
  call: (params, options) => client.callTool(params, undefined, options),
  task: async () => {
    throw new NotOffered("it knows only the experimental tasks that 2025-11-25 had, which the extension replaces");
  },
});
process.exit(0);
