/**
 * Auth0 Action for the trigger post-login: has the person's identity verified by the IDV Gateway.
 *
 * Secrets: IDV_URL and IDV_API_KEY; optional IDV_FLOW ("hosted", the default, or "relay"), BLOCK_ON_FAILURE ("false") and
 * IDV_ADOPT_APP_METADATA ("false").
 * See docs/integrations/auth0.md.
 */

const TIMEOUT_MS = 9000; // Auth0 gives each side of a redirect 20 s, the gateway answers within 8.
const DENIAL = "identity_verification_failed";
const VERIFICATION_ID = "idv_verification_id";
const CONTINUE_PARAMETERS = {
  hosted: ["session_token"],
  relay: ["code", "iss", "error", "error_description"], // not `state`: the one that arrives is Auth0's own
};
const LANGUAGE_TAG = /^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$/;
const PROTOCOLS_WITHOUT_BROWSER = new Set([
  "oauth2-access-token",
  "oauth2-password",
  "oauth2-refresh-token",
  "oauth2-resource-owner",
  "oauth2-resource-owner-jwt-bearer",
  "oauth2-token-exchange",
  "oauth2-webauthn",
  "oidc-ciba",
  "wstrust-usernamemixed",
]);

exports.onExecutePostLogin = async (event, api) => {
  if (!canRedirect(event)) {
    await goByStatus(event, api);
    return;
  }
  const decision = await ask(event, "start", "/v1/verifications", startRequest(event));
  if (decision?.action !== "redirect") {
    conclude(event, api, decision);
    return;
  }
  mirror(event, api, decision.app_metadata);
  api.transaction.setMetadata(VERIFICATION_ID, decision.verification.id);
  api.redirect.sendUserTo(decision.redirect_url);
};

exports.onContinuePostLogin = async (event, api) => {
  conclude(event, api, await ask(event, "finish", "/v1/callback", finishRequest(event)));
};

function flowOf(event) {
  return event.secrets.IDV_FLOW || "hosted";
}

function startRequest(event) {
  const request = {
    user_id: event.user.user_id,
    email: event.user.email,
    flow: flowOf(event),
    locale: LANGUAGE_TAG.test(event.transaction?.locale ?? "") ? event.transaction.locale : undefined,
    app_metadata: isOn(event.secrets.IDV_ADOPT_APP_METADATA) ? keptBefore(event.user) : undefined,
  };
  return request.flow === "relay"
    ? { ...request, omit_state: true } // Auth0 adds a `state` of its own, and a repeated parameter is an error
    : { ...request, return_to: `https://${event.request.hostname}/continue` };
}

/** What an Action without the gateway has kept of the user: the gateway takes it over for one whom it has never met. */
function keptBefore(user) {
  const kept = Object.entries(user.app_metadata ?? {}).filter(([name]) => name.startsWith("incode_"));
  return kept.length ? Object.fromEntries(kept) : undefined;
}

/** Whom and which attempt it is about comes from Auth0's transaction. Of the address, only the provider's answer counts. */
function finishRequest(event) {
  const arrived = { ...event.request.query, ...event.request.body };
  const request = { user_id: event.user.user_id, verification_id: event.transaction?.metadata?.[VERIFICATION_ID] };
  for (const name of CONTINUE_PARAMETERS[flowOf(event)] ?? []) request[name] = arrived[name];
  return request;
}

/** Refresh tokens, password grants and prompt=none show the person nothing: Auth0 refuses a redirect there. */
function canRedirect(event) {
  const prompts = [...(event.transaction?.prompt ?? []), event.request.query?.prompt];
  return !PROTOCOLS_WITHOUT_BROWSER.has(event.transaction?.protocol) && !prompts.includes("none");
}

async function goByStatus(event, api) {
  const status = await ask(event, "status", `/v1/users/${encodeURIComponent(event.user.user_id)}`);
  if (status) mirror(event, api, status.app_metadata);
  if (status?.verified) stamp(api, status.claims);
  else fail(event, api);
}

function conclude(event, api, decision) {
  if (decision) mirror(event, api, decision.app_metadata);
  if (decision?.action === "continue") stamp(api, decision.claims);
  else if (decision?.action === "deny") api.access.deny(DENIAL);
  else fail(event, api);
}

function stamp(api, claims) {
  for (const [name, value] of Object.entries(claims)) api.idToken.setCustomClaim(name, value);
}

/** Only what differs is written: Auth0 limits the rate of profile updates. It drops a member that is set to null. */
function mirror(event, api, metadata) {
  const known = event.user.app_metadata ?? {};
  for (const [name, value] of Object.entries(metadata)) {
    if (JSON.stringify(known[name] ?? null) !== JSON.stringify(value)) api.user.setAppMetadata(name, value);
  }
}

function fail(event, api) {
  if (isOn(event.secrets.BLOCK_ON_FAILURE)) api.access.deny(DENIAL);
}

function isOn(secret) {
  return (secret ?? "").trim().toLowerCase() === "true";
}

/** The gateway's answer; undefined for whatever is not a 200 with JSON. Only stable codes are logged, nothing personal. */
async function ask(event, step, path, body) {
  try {
    const response = await fetch(event.secrets.IDV_URL.replace(/\/+$/, "") + path, {
      method: body ? "POST" : "GET",
      headers: { authorization: `Bearer ${event.secrets.IDV_API_KEY}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const answer = await response.json();
    if (response.status === 200) return answer;
    console.error(`[IDV] ${step}: ${response.status} ${answer.code}`);
  } catch (error) {
    console.error(`[IDV] ${step}: no answer (${error.cause?.code ?? error.name})`);
  }
  return undefined;
}
