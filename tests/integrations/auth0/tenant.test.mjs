/** The stand-in keeps Auth0's rules: without these the scenarios would prove less than they say. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import { Login, PasswordReset, RuleBroken } from "./tenant.mjs";

const SECRET = "a secret that only these tests know, 0123456789";
const user = { user_id: "auth0|ana", email: "ana@example.com", app_metadata: {} };
const login = (execute, further = {}, onContinue = undefined) =>
  new Login({ onExecutePostLogin: execute, onContinuePostLogin: onContinue }, { user: { ...user }, secrets: {}, ...further });

function token(claims, { secret = SECRET, alg = "HS256" } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const all = { iat: now, exp: now + 60, sub: user.user_id, iss: "https://idv.example", ...claims };
  const body = [{ alg, typ: "JWT" }, all].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}

const broken = {
  "a state in the address": (_, api) => api.redirect.sendUserTo("https://idv.example/?state=mine"),
  "a relative address": (_, api) => api.redirect.sendUserTo("/launch"),
  "a long key of transaction metadata": (_, api) => api.transaction.setMetadata("k".repeat(65), "v"),
  "an object as transaction metadata": (_, api) => api.transaction.setMetadata("k", {}),
  "a long value of transaction metadata": (_, api) => api.transaction.setMetadata("k", "v".repeat(8192)),
  "a claim without a namespace": (_, api) => api.idToken.setCustomClaim("idv", {}),
  "a claim in Auth0's namespace": (_, api) => api.idToken.setCustomClaim("https://tenant.auth0.com/idv", {}),
  "a claim of 100 KB": (_, api) => api.idToken.setCustomClaim("https://incode.com/idv", "v".repeat(102_400)),
  "app_metadata of 32 KB": (_, api) => api.user.setAppMetadata("k", "v".repeat(32_768)),
  "a dot in a name of app_metadata": (_, api) => api.user.setAppMetadata("a.b", 1),
};
for (const [name, execute] of Object.entries(broken)) {
  test(`it refuses ${name}`, () => assert.rejects(async () => login(async (...both) => execute(...both)).start()));
}

for (const further of [
  { transaction: { protocol: "oauth2-refresh-token" } },
  { transaction: { protocol: "oauth2-password" } },
  { transaction: { prompt: ["none"] } },
  { query: { prompt: "none" } },
]) {
  test(`it refuses a redirect with ${JSON.stringify(further)}`, () =>
    assert.rejects(login(async (_, api) => api.redirect.sendUserTo("https://idv.example/"), further).start(), RuleBroken));
}

test("it refuses secrets that are too long", () =>
  assert.throws(() => login(async () => {}, { secrets: { A: "v".repeat(2049) } }), RuleBroken));

test("transaction metadata crosses the redirect, in a login alone", async () => {
  const seen = [];
  const redirect = (_, api) => api.redirect.sendUserTo("https://idv.example/");
  const begun = await login(
    async (event, api) => {
      api.transaction.setMetadata("k", 7);
      redirect(event, api);
    },
    {},
    async (event) => seen.push(event.transaction.metadata),
  ).start();
  await begun.continue({ state: begun.state });
  assert.deepEqual(seen, [{ k: 7 }]);
  const reset = new PasswordReset(
    { onExecutePostChallenge: async (event, api) => seen.push(event.transaction.metadata, api.transaction) },
    { user, secrets: {} },
  );
  await reset.start();
  assert.deepEqual(seen.slice(1), [undefined, undefined]);
});

async function validated(make) {
  const begun = await login(
    async (_, api) => api.redirect.sendUserTo("https://idv.example/"),
    {},
    async (_, api) => api.redirect.validateToken({ secret: SECRET }),
  ).start();
  return begun.continue({ state: begun.state, session_token: make(begun.state) });
}

test("it accepts a session token of this user and this transaction", () => validated((state) => token({ state })));

for (const [name, make] of Object.entries({
  "of another transaction": () => token({ state: "another" }),
  "without a state": () => token({}),
  "about another user": (state) => token({ state, sub: "auth0|eve" }),
  "that has expired": (state) => token({ state, exp: 1 }),
  "without an issuer": (state) => token({ state, iss: undefined }),
  "signed with another secret": (state) => token({ state }, { secret: "another" }),
  "with another algorithm": (state) => token({ state }, { alg: "none" }),
  "that is no token": () => "a token",
  "that is missing": () => undefined,
})) {
  test(`it refuses a session token ${name}`, () => assert.rejects(validated(make)));
}

test("it refuses another state at continue, and a second time", async () => {
  const begun = await login(async (_, api) => api.redirect.sendUserTo("https://idv.example/"), {}, async () => {}).start();
  await assert.rejects(begun.continue({ state: "another" }), RuleBroken);
  await begun.continue({ state: begun.state });
  await assert.rejects(begun.continue({ state: begun.state }), RuleBroken);
});
