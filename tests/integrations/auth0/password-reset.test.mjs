import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import { Login, PasswordReset } from "./tenant.mjs";
import { action, answering, asAdmin, away, hurried, newUser, open, REDIRECT_SECRET, statusOf, visit } from "./world.mjs";

const DENIAL = "identity_verification_failed";
const passwordReset = action("password-reset.js");
const secrets = { ...open, REDIRECT_SECRET };

const reset = (user, chosen = secrets) => new PasswordReset(passwordReset, { user, secrets: chosen }).start();

async function enrolled() {
  const user = newUser();
  const begun = await new Login(action("post-login.js"), { user, secrets: open }).start();
  await begun.continue(await visit(begun));
  return user;
}

const attemptsOf = async (user) =>
  (await asAdmin(`/v1/verifications?user_id=${encodeURIComponent(user.user_id)}`)).items.map(({ purpose, status }) => [
    purpose,
    status,
  ]);

test("the enrolled person may set a new password, and the record stays as it was", async () => {
  const user = await enrolled();
  const before = await statusOf(user);
  const begun = await reset(user);
  const finished = await begun.continue(await visit(begun));
  assert.ok(finished.isComplete);
  assert.deepEqual(await statusOf(user), before);
  assert.deepEqual((await attemptsOf(user))[0], ["step_up", "completed"]);
});

test("somebody without an identity on file is denied before any redirect", async () => {
  const user = newUser();
  const begun = await reset(user);
  assert.equal(begun.deniedWith, DENIAL);
  assert.equal(begun.redirectedTo, undefined);
  assert.deepEqual(await attemptsOf(user), []);
});

for (const outcome of ["another-person", "failed", "denied", "abandoned", "no-status", "no-identity", "provider-down"]) {
  test(`a step-up that ends with ${outcome} is denied, whatever BLOCK_ON_FAILURE says`, async () => {
    const begun = await reset(await enrolled(), { ...secrets, BLOCK_ON_FAILURE: "false" });
    assert.equal((await begun.continue(await visit(begun, outcome))).deniedWith, DENIAL);
  });
}

for (const [name, chosen] of [
  ["is away", away],
  ["does not know the key", { IDV_API_KEY: "a key that nobody has given out 0123456789" }],
]) {
  test(`a step-up is denied where the gateway ${name}, at its start and at its end`, async () => {
    const user = await enrolled();
    assert.equal((await reset(user, { ...secrets, ...chosen })).deniedWith, DENIAL);
    const begun = await reset(user);
    const arrived = await visit(begun);
    begun.secrets = { ...secrets, ...chosen };
    assert.equal((await begun.continue(arrived)).deniedWith, DENIAL);
  });
}

test("a gateway that never answers is given up in less than 10 s", async (t) => {
  const limits = hurried(t);
  await answering(
    () => {},
    async (slow) => assert.equal((await reset(newUser(), { ...secrets, ...slow })).deniedWith, DENIAL),
  );
  assert.ok(limits[0] < 10_000);
});

test("the answer of another reset of the same user is denied, though it succeeded", async () => {
  const user = await enrolled();
  const [first, second] = [await reset(user), await reset(user)];
  const { session_token } = await visit(first);
  assert.equal((await second.continue({ state: second.state, session_token })).deniedWith, DENIAL);
  assert.deepEqual((await attemptsOf(user)).slice(0, 2), [["step_up", "pending"], ["step_up", "returned"]]);
});

test("an answer works in one reset only", async () => {
  const user = await enrolled();
  const begun = await reset(user);
  const arrived = await visit(begun);
  await begun.continue(arrived);
  await assert.rejects(begun.continue(arrived));
});

test("a login's answer is not a step-up's, though it is this user's and names this transaction", async () => {
  const user = await enrolled();
  await asAdmin(`/v1/users/${encodeURIComponent(user.user_id)}/reset`, {});
  const login = await new Login(action("post-login.js"), { user: { ...user }, secrets: open }).start();
  const begun = await reset(user);
  // Whoever holds the password may change the state in the address of a launch.
  const { session_token } = await visit({ redirectedTo: login.redirectedTo.replace(login.state, begun.state) });
  assert.equal((await begun.continue({ state: begun.state, session_token })).deniedWith, DENIAL);
});

function signed(claims) {
  const body = [{ alg: "HS256", typ: "JWT" }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  return `${body}.${createHmac("sha256", REDIRECT_SECRET).update(body).digest("base64url")}`;
}

const HOSTILE = {
  "no token": () => undefined,
  "a token that is none": () => "x",
  "two tokens": ({ session_token }) => [session_token, session_token],
  "a token whose signature was cut off": ({ session_token }) => session_token.replace(/\.[^.]*$/, "."),
};
for (const [name, forge] of Object.entries(HOSTILE)) {
  test(`hostile parameters at continue are denied: ${name}`, async () => {
    const begun = await reset(await enrolled());
    const arrived = await visit(begun);
    assert.equal((await begun.continue({ state: begun.state, session_token: forge(arrived) })).deniedWith, DENIAL);
  });
}

test("a token that was signed with the stolen secret, for an attempt that nobody went through, is denied", async () => {
  const user = await enrolled();
  const begun = await reset(user);
  const verification_id = new URL(begun.redirectedTo).pathname.split("/")[3];
  const now = Math.floor(Date.now() / 1000);
  const session_token = signed({
    iss: new URL(begun.redirectedTo).origin, sub: user.user_id, iat: now, exp: now + 300, jti: "x", state: begun.state, verification_id,
  });
  assert.equal((await begun.continue({ state: begun.state, session_token })).deniedWith, DENIAL);
  assert.deepEqual((await attemptsOf(user))[0], ["step_up", "pending"]);
});
