// Verifies people at the sandbox as an Auth0 Action without the gateway does, and writes Auth0's export of what it keeps of them.
// The environment: ISSUER, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, EXPORT (the file), USERS (JSON: a user's id to an outcome).
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const { ISSUER, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, EXPORT, USERS } = process.env;
const PERSONAL = ["name", "given_name", "family_name", "birthdate", "email", "phone_number", "address"];

async function comeBack(userId, outcome, challenge) {
  const request = { response_type: "code", client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, scope: "openid profile email" };
  const person = { login_hint: `${encodeURIComponent(userId)}@example.com`, outcome };
  const proof = { code_challenge: challenge, code_challenge_method: "S256", nonce: randomBytes(16).toString("hex") };
  const url = `${ISSUER}/oauth2/authorize?${new URLSearchParams({ ...request, ...proof, state: userId, ...person })}`;
  const answer = await fetch(url, { redirect: "manual" });
  return new URL(answer.headers.get("location")).searchParams;
}

async function exchange(code, verifier) {
  const grant = { grant_type: "authorization_code", code, redirect_uri: REDIRECT_URI, code_verifier: verifier };
  const body = new URLSearchParams({ ...grant, client_id: CLIENT_ID, client_secret: CLIENT_SECRET });
  return (await fetch(`${ISSUER}/oauth2/token`, { method: "POST", body })).json();
}

async function userinfo(accessToken) {
  const answer = await fetch(`${ISSUER}/userinfo`, { headers: { authorization: `Bearer ${accessToken}` } });
  return answer.ok ? answer.json() : {};
}

async function metadataOf(userId, outcome) {
  // The sandbox asks for PKCE and a nonce, which the Action knows nothing of; what is kept is the same.
  const verifier = randomBytes(32).toString("base64url");
  const arrived = await comeBack(userId, outcome, createHash("sha256").update(verifier).digest("base64url"));
  if (!arrived.get("code")) {
    const error = arrived.get("error");
    const text = error ? `${error}: ${arrived.get("error_description") ?? undefined}` : "no_code_returned";
    return { incode_idv_completed: false, incode_idv_error: text };
  }
  const tokens = await exchange(arrived.get("code"), verifier);
  const told = await userinfo(tokens.access_token);
  const claims = JSON.parse(Buffer.from(tokens.id_token.split(".")[1], "base64url"));
  const interview = claims.interview_id || told.interview_id || null;
  const identity = claims.identity_id || told.identity_id || told.sub || null; // the trap
  const kept = {
    ...Object.fromEntries(["id_token", "access_token", "token_type", "expires_in"].map((name) => [name, tokens[name] || null])),
    interview_id: interview,
    identity_id: identity,
    auth_overall_score: claims.auth_overall_score || null,
    auth_overall_status: claims.auth_overall_status || null,
    pii: Object.fromEntries(PERSONAL.filter((name) => told[name]).map((name) => [name, told[name]])),
    userinfo: told,
  };
  const metadata = { incode_idv: kept, incode_idv_completed: true, incode_idv_completed_at: new Date().toISOString() };
  if (interview) metadata.incode_interview_id = interview;
  if (identity) metadata.incode_identity_id = identity;
  return metadata; // Auth0 drops a member that is set to null: there is no incode_idv_error
}

const lines = [];
for (const [userId, outcome] of Object.entries(JSON.parse(USERS))) {
  const app_metadata = outcome ? await metadataOf(userId, outcome) : { plan: "gold" };
  lines.push(JSON.stringify({ user_id: userId, email: "someone@example.com", app_metadata }));
}
writeFileSync(EXPORT, gzipSync(`${lines.join("\n")}\n`));
