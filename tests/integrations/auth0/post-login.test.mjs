import assert from "node:assert/strict";
import { test } from "node:test";

import { Login } from "./tenant.mjs";
import { action, answering, asAdmin, away, blocking, Browser, CLAIM, hurried, newUser, open, statusOf, visit } from "./world.mjs";

const DENIAL = "identity_verification_failed";
const FLOWS = ["hosted", "relay"];
const postLogin = action("post-login.js");

const login = (user, secrets, further = {}) => new Login(postLogin, { user, secrets, ...further }).start();

async function verify(user, secrets = open, outcome = "verified") {
  const begun = await login(user, secrets);
  return begun.continue(await visit(begun, outcome));
}

function wentOnWithout(finished) {
  assert.ok(finished.isComplete);
  assert.deepEqual(finished.claims, {});
}

function denied(finished) {
  assert.equal(finished.deniedWith, DENIAL);
  assert.deepEqual(finished.claims, {});
}

for (const flow of FLOWS) {
  const secrets = { ...open, IDV_FLOW: flow };

  test(`a first login is verified, stamped and mirrored (${flow})`, async () => {
    const user = newUser();
    const begun = await login(user, secrets);
    assert.equal(new URL(begun.redirectedTo).searchParams.get("state"), begun.state);
    assert.ok(!begun.isComplete);
    const finished = await begun.continue(await visit(begun));
    assert.ok(finished.isComplete);
    const claim = finished.claims[CLAIM];
    assert.deepEqual(
      [claim.completed, claim.auth_overall_status, claim.auth_overall_score, typeof claim.pii],
      [true, "OK", "100.0", "object"],
    );
    const { incode_idv, ...plain } = user.app_metadata;
    assert.deepEqual(plain, {
      incode_idv_completed: true,
      incode_idv_completed_at: claim.completed_at,
      incode_interview_id: claim.interview_id,
      incode_identity_id: claim.identity_id,
    });
    assert.deepEqual(
      [incode_idv.interview_id, incode_idv.identity_id, incode_idv.access_token, incode_idv.id_token],
      [claim.interview_id, claim.identity_id, undefined, undefined],
    );
  });

  test(`who was verified before the gateway was there goes on without a redirect, where that is taken over (${flow})`, async () => {
    const before = newUser();
    await verify(before, secrets);
    const moved = () => ({ ...newUser(), app_metadata: { ...before.app_metadata, plan: "gold" } });
    assert.ok((await login(moved(), secrets)).redirectedTo);
    const taken = await login(moved(), { ...secrets, IDV_ADOPT_APP_METADATA: "true" });
    assert.equal(taken.redirectedTo, undefined);
    assert.equal(taken.claims[CLAIM].identity_id, before.app_metadata.incode_identity_id);
  });

  test(`a login inside the window is not interrupted, and gets the same claim (${flow})`, async () => {
    const user = newUser();
    const { claims } = await verify(user, secrets);
    const again = await login(user, secrets);
    assert.equal(again.redirectedTo, undefined);
    assert.deepEqual(again.claims, claims);
    assert.equal(again.updates, undefined, "nothing had changed");
  });

  test(`a login that is due shows the same face again (${flow})`, async () => {
    const user = newUser();
    const { claims } = await verify(user, secrets);
    const due = await login(user, { ...blocking, IDV_FLOW: flow });
    const finished = await due.continue(await visit(due));
    assert.equal(finished.claims[CLAIM].identity_id, claims[CLAIM].identity_id);
    assert.notEqual(finished.claims[CLAIM].interview_id, claims[CLAIM].interview_id);
    assert.equal(user.app_metadata.incode_interview_id, finished.claims[CLAIM].interview_id);
  });

  for (const [outcome, error] of [
    ["denied", "access_denied: The verification was refused"],
    ["failed", "status_not_accepted"],
    ["abandoned", "no_code_returned"],
    ["provider-down", "provider_unavailable"],
  ]) {
    test(`a verification that ends with ${outcome} is denied where failures block (${flow})`, async () => {
      const user = newUser();
      denied(await verify(user, { ...blocking, IDV_FLOW: flow }, outcome));
      assert.equal(user.app_metadata.incode_idv_completed, false);
      assert.match(user.app_metadata.incode_idv_error, new RegExp(`^${error}`));
    });

    test(`a verification that ends with ${outcome} goes on without the claim elsewhere (${flow})`, async () => {
      const user = newUser();
      wentOnWithout(await verify(user, secrets, outcome));
      assert.equal(user.app_metadata.incode_idv_completed, false);
      assert.match(user.app_metadata.incode_idv_error, new RegExp(`^${error}`));
    });
  }

  test(`somebody else than the enrolled person is denied, and does not replace him (${flow})`, async () => {
    const user = newUser();
    const { claims } = await verify(user, secrets);
    denied(await verify(user, { ...blocking, IDV_FLOW: flow }, "another-person"));
    assert.equal(user.app_metadata.incode_identity_id, claims[CLAIM].identity_id);
  });
}

test("a success after a failure clears the error", async () => {
  const user = newUser();
  await verify(user, open, "denied");
  await verify(user, open);
  assert.deepEqual([user.app_metadata.incode_idv_error, user.app_metadata.incode_idv_completed], [undefined, true]);
});

test("what the document's Action left behind is replaced by what the gateway knows, tokens first", async () => {
  const user = { ...newUser(), app_metadata: { incode_idv: { access_token: "a", id_token: "b" }, plan: "gold" } };
  await verify(user);
  assert.equal(user.app_metadata.incode_idv.access_token, undefined);
  assert.equal(user.app_metadata.plan, "gold");
});

test("after a reset at the gateway the next login verifies again, and the profile says so at once", async () => {
  const user = newUser();
  await verify(user);
  await asAdmin(`/v1/users/${encodeURIComponent(user.user_id)}/reset`, {});
  const next = await login(user, open);
  assert.ok(next.redirectedTo);
  assert.equal(user.app_metadata.incode_idv_completed_at, undefined);
});

for (const further of [
  { transaction: { protocol: "oauth2-refresh-token" } },
  { transaction: { protocol: "oauth2-password" } },
  { transaction: { prompt: ["none"] } },
  { query: { prompt: "none" } },
]) {
  test(`where no redirect is possible, the status decides: ${JSON.stringify(further)}`, async () => {
    const user = newUser();
    wentOnWithout(await login(user, open, further));
    denied(await login(user, blocking, further));
    const { claims } = await verify(user);
    const silent = await login(user, open, further);
    assert.equal(silent.redirectedTo, undefined);
    assert.deepEqual(silent.claims, claims);
    denied(await login(user, blocking, further));
  });
}

test("a user's id may be an address of its own", async () => {
  const user = { ...newUser(), user_id: `samlp|http://idp.example/x?y#z|${newUser().user_id}` };
  const { claims } = await verify(user);
  assert.deepEqual((await login(user, open, { query: { prompt: "none" } })).claims, claims);
});

test("a parameter of the address can be the answer, never whom or which attempt it is about", async () => {
  const eve = newUser();
  const ana = newUser();
  const begun = await login(eve, open);
  const other = await login(ana, open);
  const arrived = await visit(begun);
  const forged = { ...arrived, user_id: ana.user_id, verification_id: "idv_0", idv_verification_id: "idv_0", purpose: "step_up" };
  assert.equal((await begun.continue(forged)).claims[CLAIM].completed, true);
  assert.equal((await statusOf(ana)).verified, false);
  wentOnWithout(await other.continue({ state: other.state, session_token: arrived.session_token }));
  assert.equal((await statusOf(ana)).verified, false);
});

const HOSTILE = {
  "no session token": {},
  "a session token that is none": { session_token: "x" },
  "two session tokens": { session_token: ["a", "b"] },
  "a session token of 100 KB": { session_token: "x".repeat(100_000) },
  "an object": { session_token: { length: 1 } },
  "a code of nobody": { code: "of nobody" },
  "control characters": { session_token: "a\u0000b", code: "a\r\nb" },
};
for (const flow of FLOWS) {
  for (const [name, parameters] of Object.entries(HOSTILE)) {
    test(`hostile parameters at continue verify nobody: ${name} (${flow})`, async () => {
      const user = newUser();
      for (const [secrets, check] of [
        [open, wentOnWithout],
        [blocking, denied],
      ]) {
        const begun = await login(user, { ...secrets, IDV_FLOW: flow });
        check(await begun.continue({ state: begun.state, ...parameters }));
      }
      assert.equal((await statusOf(user)).verified, false);
    });
  }

  test(`the answer of another login of the same user does not count for this one (${flow})`, async () => {
    const user = newUser();
    const secrets = { ...blocking, IDV_FLOW: flow };
    const first = await login(user, secrets);
    const second = await login(user, secrets);
    const { state: _, ...arrived } = await visit(first);
    denied(await second.continue({ state: second.state, ...arrived }));
    assert.equal((await statusOf(user)).verified, false);
  });
}

test("a launch link that was passed on to another browser proves nothing", async () => {
  const begun = await login(newUser(), open);
  await new Browser().goTo(begun.redirectedTo);
  await assert.rejects(new Browser().goTo(begun.redirectedTo), /launch answers 400/);
});

test("an answer in the body of a POST to continue counts like one in the query", async () => {
  const begun = await login(newUser(), open);
  const { state, ...body } = await visit(begun);
  const finished = await begun.continue({ state }, { method: "POST", body });
  assert.equal(finished.claims[CLAIM].completed, true);
});

const SILENT = { transaction: { protocol: "oauth2-refresh-token" } };

for (const [name, secrets] of [
  ["away", away],
  ["at an address that is none", { IDV_URL: "idv.example" }],
  ["not told the right key", { IDV_API_KEY: "a key that nobody has given out 0123456789" }],
  ["asked for a flow that it does not have", { IDV_FLOW: "none" }],
]) {
  test(`with the gateway ${name}, a login goes on without the claim, or is denied`, async () => {
    wentOnWithout(await login(newUser(), { ...open, ...secrets }));
    denied(await login(newUser(), { ...blocking, ...secrets }));
  });
}

test("with the gateway away, refresh tokens and returns from the provider end the same way", async () => {
  const user = newUser();
  await verify(user);
  wentOnWithout(await login(user, { ...open, ...away }, SILENT));
  denied(await login(user, { ...blocking, ...away }, SILENT));
  for (const [secrets, check] of [
    [open, wentOnWithout],
    [blocking, denied],
  ]) {
    const begun = await login(newUser(), secrets);
    const arrived = await visit(begun);
    begun.secrets = { ...secrets, ...away };
    check(await begun.continue(arrived));
  }
});

for (const [name, respond] of Object.entries({
  "that never answers": () => {},
  "that begins an answer and never ends it": (_, response) => response.write('{"action":'),
})) {
  test(`a gateway ${name} is given up in less than 10 s`, async (t) => {
    const limits = hurried(t);
    await answering(respond, async (slow) => {
      wentOnWithout(await login(newUser(), { ...open, ...slow }));
      denied(await login(newUser(), { ...blocking, ...slow }));
      denied(await login(newUser(), { ...blocking, ...slow }, SILENT));
    });
    assert.equal(limits.length, 3);
    assert.ok(limits.every((limit) => limit < 10_000));
  });
}

const CLAIMING = JSON.stringify({ action: "continue", claims: { [CLAIM]: { completed: true } }, app_metadata: {}, verified: true });
for (const [name, status, headers, body] of [
  ["201", 201, {}, CLAIMING],
  ["500", 500, {}, CLAIMING],
  ["503 with a page", 503, {}, "<h1>Away</h1>"],
  ["200 with a page", 200, {}, "<h1>Welcome</h1>"],
  ["a redirect", 302, { location: "/elsewhere" }, CLAIMING],
]) {
  test(`whatever is not a 200 with JSON is a failure: ${name}`, async () => {
    await answering(
      ({ url }, response) => response.writeHead(url === "/elsewhere" ? 200 : status, headers).end(body),
      async (strange) => {
        wentOnWithout(await login(newUser(), { ...open, ...strange }));
        denied(await login(newUser(), { ...blocking, ...strange }));
        denied(await login(newUser(), { ...blocking, ...strange }, SILENT));
      },
    );
  });
}

test("the log names the step and the code, and nobody", async () => {
  const user = newUser();
  const begun = await login(user, open);
  postLogin.log.length = 0;
  await begun.continue({ state: begun.state, session_token: "x" });
  await login(user, { ...open, ...away });
  assert.deepEqual(postLogin.log, ["[IDV] finish: 400 session_token_invalid", "[IDV] start: no answer (ECONNREFUSED)"]);
});
