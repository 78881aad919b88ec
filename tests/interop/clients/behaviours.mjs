// What the TypeScript SDKs' clients share: the behaviours, which both generations spell alike, and the report's form.
import assert from "node:assert/strict";

const PATIENCE = 20_000;

export const asked = JSON.parse(process.argv[2]);

export class NotOffered extends Error {}

function say(behaviour, result, why = "") {
  process.stdout.write(JSON.stringify({ behaviour, result, why }) + "\n");
}

// `client` is connected and answers elicitations; `call(params, options)` calls a tool in its generation's way.
export async function run(client, { revision, found, call, task }) {
  const label = asked.label;
  const text = (result) => result.content[0].text;
  const behaviours = {
    tools: async () => {
      assert.equal(found, revision);
      const names = (await client.listTools()).tools.map((tool) => tool.name);
      for (const name of ["add", "count", "greet", "hang"]) assert.ok(names.includes(name), name);
      const added = await call({ name: "add", arguments: { a: 1 } });
      assert.deepEqual(added.structuredContent, { total: 3 });
    },
    progress: async () => {
      const steps = [];
      const onprogress = ({ progress, total, message }) => steps.push([progress, total, message]);
      assert.equal(text(await call({ name: "count", arguments: { to: 3 } }, { onprogress })), "counted to 3");
      assert.deepEqual(steps, [[1, 3, "number 1"], [2, 3, "number 2"], [3, 3, "number 3"]]);
    },
    elicitation: async () => assert.equal(text(await call({ name: "greet", arguments: {} })), "Hello, Ann!"),
    resource: async () => {
      const listed = (await client.listResources()).resources.map((one) => one.uri);
      assert.deepEqual(listed, ["note://menu/today"]);
      assert.equal((await client.readResource({ uri: "note://tea" })).contents[0].text, "a note about tea");
    },
    prompt: async () => {
      assert.deepEqual((await client.listPrompts()).prompts.map((one) => one.name), ["review"]);
      const prompt = await client.getPrompt({ name: "review", arguments: { code: "x" } });
      assert.equal(prompt.messages[0].content.text, "Review x");
    },
    cancel: async () => {
      const stop = new AbortController();
      const hanging = call({ name: "hang", arguments: { label } }, { signal: stop.signal });
      const ended = assert.rejects(hanging);
      await call({ name: "witness", arguments: { label, what: "started" } });
      stop.abort("enough");
      await ended;
      await call({ name: "witness", arguments: { label, what: "cancelled" } });
    },
    task,
    "typed error": async () => {
      await assert.rejects(call({ name: "no_such_tool", arguments: {} }), (error) => error.code === -32602);
      const failed = await call({ name: "fail", arguments: {} });
      assert.deepEqual([failed.isError, text(failed)], [true, "the words of the tool"]);
    },
  };
  for (const [name, behaviour] of Object.entries(behaviours)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("no end in time")), PATIENCE);
    });
    try {
      await Promise.race([behaviour(), late]);
      say(name, "pass");
    } catch (error) {
      if (error instanceof NotOffered) say(name, "not offered", error.message);
      else {
        console.error(error);
        say(name, "FAIL", `${error.name}: ${error.message}`.slice(0, 300));
      }
    } finally {
      clearTimeout(timer);
    }
  }
  await client.close();
}
