// A machine with a token, bound to its key or not, and what a thief makes of it: `node machines.mjs JSON`.
//
// Prints a line for each check. Must not: know anything of the server but its address.

import { randomUUID } from "node:crypto";
import { SignJWT, calculateJwkThumbprint, decodeJwt, exportJWK, generateKeyPair } from "jose";

const { authority, resource, only } = JSON.parse(process.argv[2]);

async function pair() {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  return { jwk: await exportJWK(publicKey), privateKey };
}

async function proof(key, method, address, token, claims = {}) {
  const ath = token && Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(token))).toString("base64url");
  return new SignJWT({ htm: method, htu: address, jti: randomUUID(), ...(token ? { ath } : {}), ...claims })
    .setProtectedHeader({ typ: "dpop+jwt", alg: "ES256", jwk: key.jwk })
    .setIssuedAt()
    .sign(key.privateKey);
}

async function token(client, key, scope = "mcp:read") {
  const endpoint = `${authority}/token`;
  const basic = Buffer.from(`${client}:${client}-secret-of-the-tests`).toString("base64");
  const headers = { authorization: `Basic ${basic}`, "content-type": "application/x-www-form-urlencoded" };
  if (key) headers.dpop = await proof(key, "POST", endpoint);
  const body = new URLSearchParams({ grant_type: "client_credentials", scope, resource });
  const response = await fetch(endpoint, { method: "POST", headers, body });
  const said = await response.json();
  if (!said.access_token) throw new Error(`no token: ${JSON.stringify(said)}`);
  return said.access_token;
}

async function ask(headers, method = "tools/list", params = {}) {
  const version = "2026-07-28";
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": version,
    "io.modelcontextprotocol/clientInfo": { name: "anna", version: "0" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const name = params.name ? { "mcp-name": params.name } : {};
  const response = await fetch(resource, {
    method: "POST",
    headers: {
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
      "mcp-protocol-version": version,
      "mcp-method": method,
      ...name,
      ...headers,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { ...params, _meta } }),
  });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

function check(name, holds, why = "") {
  process.stdout.write(`${JSON.stringify({ check: name, result: holds ? "pass" : "FAIL", why: holds ? "" : why })}\n`);
}

const bearer = async (given) => ask({ authorization: `Bearer ${given}` });
const show = (answer) => `${answer.status} ${answer.text.slice(0, 300)} ${answer.headers.get("www-authenticate")}`;

if (only === "plain") {
  const plain = await token("robot");
  const answer = await bearer(plain);
  check("a machine's signed token opens the door", answer.status === 200, show(answer));
  process.stdout.write(`${JSON.stringify({ token: plain })}\n`);
} else if (only === "opaque") {
  const opaque = await token("opaque");
  const first = await bearer(opaque);
  check("an opaque token is asked about", first.status === 200 && !opaque.includes("."), show(first));
  const basic = Buffer.from("opaque:opaque-secret-of-the-tests").toString("base64");
  await fetch(`${authority}/token/revocation`, {
    method: "POST",
    headers: { authorization: `Basic ${basic}`, "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ token: opaque }),
  });
  const deadline = Date.now() + 10_000;
  let last = await bearer(opaque);
  while (last.status === 200 && Date.now() < deadline) {
    await new Promise((next) => setTimeout(next, 100));
    last = await bearer(opaque);
  }
  check("a revoked one opens nothing a second later", last.status === 401, show(last));
} else {
  const [own, thief] = [await pair(), await pair()];
  const bound = await token("robot", own);
  const print = await calculateJwkThumbprint(own.jwk);
  check("the token is bound to the key", decodeJwt(bound).cnf?.jkt === print, JSON.stringify(decodeJwt(bound)));
  const by = async (key, method = "POST", address = resource, claims = {}) => ({
    authorization: `DPoP ${bound}`,
    dpop: await proof(key, method, address, bound, claims),
  });
  const once = await by(own);
  const good = await ask(once);
  check("a proof by its key opens the door", good.status === 200, show(good));
  const called = await ask(await by(own), "tools/call", { name: "look", arguments: {} });
  check("and a tool can be called", called.status === 200 && called.text.includes("seen"), show(called));
  const tries = {
    "the same proof again": once,
    "the token without the key": { authorization: `Bearer ${bound}` },
    "the token without the key, and an old proof": { authorization: `Bearer ${bound}`, dpop: once.dpop },
    "a proof by another key": await by(thief),
    "a proof for another method": await by(own, "GET"),
    "a proof for another address": await by(own, "POST", "https://other.example/mcp"),
    "a proof for another token": await by(own, "POST", resource, { ath: "x" }),
    "no proof": { authorization: `DPoP ${bound}` },
  };
  for (const [name, headers] of Object.entries(tries)) {
    const answer = await ask(headers);
    const challenge = answer.headers.get("www-authenticate") ?? "";
    check(`refused: ${name}`, answer.status === 401 && challenge.includes("DPoP "), show(answer));
  }
}
