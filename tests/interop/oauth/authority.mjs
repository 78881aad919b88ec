// A real authorization server on loopback: `node authority.mjs PORT`.
//
// Owns an issuer with fresh keys at each start, a client that people use, and machines. Whoever is
// sent here to sign in is anna, and agrees. Must not: know what its tokens open.

import http from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const port = Number(process.argv[2]);
const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const kid = `key-${Date.now()}`;
const machine = (client_id) => ({
  client_id,
  client_secret: `${client_id}-secret-of-the-tests`,
  grant_types: ["client_credentials"],
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: "client_secret_basic",
});

const person = {
  client_id: "person",
  application_type: "native",
  redirect_uris: ["http://127.0.0.1:9/callback"],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  token_endpoint_auth_method: "none",
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [machine("robot"), machine("opaque"), machine("asker"), person],
  jwks: { keys: [{ ...(await exportJWK(privateKey)), kid, alg: "ES256", use: "sig" }] },
  scopes: ["openid", "offline_access", "mcp:read", "mcp:write"],
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  cookies: { keys: ["of the tests"] },
  clientAuthMethods: ["client_secret_basic", "client_secret_post", "none"],
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_context, resource, client) => ({
        scope: "mcp:read mcp:write",
        audience: resource,
        accessTokenTTL: 600,
        accessTokenFormat: client.clientId === "opaque" ? "opaque" : "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});

async function agree(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: "anna" } });
  }
  const before = grantId && (await provider.Grant.find(grantId));
  const grant = before || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(" "));
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(" "));
  }
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

const answer = provider.callback();
http
  .createServer((request, response) => {
    if (!request.url.startsWith("/interaction/")) return answer(request, response);
    agree(request, response).catch((error) => {
      response.statusCode = 500;
      response.end(String(error));
    });
  })
  .listen(port, "127.0.0.1", () => process.stdout.write("ready\n"));
