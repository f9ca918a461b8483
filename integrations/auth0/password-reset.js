/**
 * Auth0 Action for the trigger password-reset-post-challenge: a new password only for the person whose identity is on file.
 *
 * Secrets: IDV_URL, IDV_API_KEY, and REDIRECT_SECRET, the gateway's own. Every failure denies. See docs/integrations/auth0.md.
 */

const TIMEOUT_MS = 9000; // Auth0 gives each side of a redirect 20 s, the gateway answers within 8.
const DENIAL = "identity_verification_failed";

exports.onExecutePostChallenge = async (event, api) => {
  const decision = await ask(event, "start", "/v1/verifications", {
    user_id: event.user.user_id,
    purpose: "step_up",
    flow: "hosted",
    return_to: `https://${event.request.hostname}/continue`,
  });
  if (decision?.action === "redirect") api.redirect.sendUserTo(decision.redirect_url);
  else api.access.deny(DENIAL);
};

exports.onContinuePostChallenge = async (event, api) => {
  if (!(await isThePersonOnFile(event, api))) api.access.deny(DENIAL);
};

async function isThePersonOnFile(event, api) {
  const session = sessionOf(event, api);
  if (!session) return false;
  const decision = await ask(event, "finish", "/v1/callback", {
    user_id: event.user.user_id,
    verification_id: session.verification_id,
    session_token: { ...event.request.query, ...event.request.body }.session_token,
  });
  // A login's outcome in this place would let in whoever enrols first: only a step-up compares with the record.
  return decision?.action === "continue" && decision.verification.purpose === "step_up";
}

/**
 * This trigger has no transaction metadata. The token's `state` is this transaction's, which Auth0 compares, so that the
 * answer of another reset cannot be brought here.
 */
function sessionOf(event, api) {
  try {
    return api.redirect.validateToken({ secret: event.secrets.REDIRECT_SECRET, tokenParameterName: "session_token" });
  } catch {
    console.error("[IDV] finish: the session token does not belong to this password reset");
    return undefined;
  }
}

/** The gateway's answer; undefined for whatever is not a 200 with JSON. Only stable codes are logged, nothing personal. */
async function ask(event, step, path, body) {
  try {
    const response = await fetch(event.secrets.IDV_URL.replace(/\/+$/, "") + path, {
      method: "POST",
      headers: { authorization: `Bearer ${event.secrets.IDV_API_KEY}`, "content-type": "application/json" },
      body: JSON.stringify(body),
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
