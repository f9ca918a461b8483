/**
 * What an Action sees of Auth0: `event` and `api`, with the rules that Auth0 documents (Actions limitations, Redirect with
 * Actions, the API objects of post-login and password-reset-post-challenge). A broken rule throws `RuleBroken`.
 */

import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

export const HOSTNAME = "tenant.example";
const SIDE_OF_REDIRECT_MS = 20_000;
const WITHOUT_BROWSER = ["oauth2-refresh-token", "oauth2-password", "oauth2-resource-owner"];
const ACTIONS = new URL("../../../integrations/auth0/", import.meta.url);

export class RuleBroken extends Error {}

function rule(holds, text) {
  if (!holds) throw new RuleBroken(text);
}

const bytes = (value) => Buffer.byteLength(JSON.stringify(value));

/** The very file, as Auth0 runs it: CommonJS, without a dependency. */
export function loadAction(file, { fetch = globalThis.fetch, log = [] } = {}) {
  const source = readFileSync(new URL(file, ACTIONS), "utf8");
  rule(Buffer.byteLength(source) <= 100_000, "an Action has 100 kB at most");
  const refuse = (name) => rule(false, `the Action requires ${name}`);
  const console = { error: (text) => log.push(String(text)) };
  const exports = {};
  new Function("exports", "require", "console", "fetch", source)(exports, refuse, console, fetch);
  return exports;
}

/** One transaction: a login or a password reset, from its start to its end. */
class Transaction {
  #state = `auth0-state-${randomUUID()}`;
  #metadata = {};
  #suspended = false;
  #continue;

  constructor(action, { user, secrets, transaction = {}, query = {} }) {
    rule(Object.keys(secrets).length <= 30, "an Action has 30 secrets at most");
    for (const [name, value] of Object.entries(secrets)) {
      rule(name.length <= 128 && value.length <= 2048, "a secret has 128 characters of name and 2048 of value at most");
    }
    this.action = action;
    this.user = user;
    this.secrets = secrets;
    this.transaction = transaction;
    this.query = query;
    this.redirectedTo = undefined;
    this.deniedWith = undefined;
    this.claims = {};
  }

  get isComplete() {
    return !this.#suspended && this.deniedWith === undefined;
  }

  /** The address of the redirect with the `state` that Auth0 adds. */
  get state() {
    return this.#state;
  }

  async start() {
    await this.#run(this.action[this.handlers[0]], { method: "GET", query: this.query, body: {} });
    return this;
  }

  /** The browser arrives at /continue. Auth0 itself turns away whoever does not bring its own `state`. */
  async continue(query, { body = {}, method = "GET" } = {}) {
    rule(this.#suspended, "nothing waits to be continued");
    rule({ ...query, ...body }.state === this.#state, "invalid_request: the state is not this transaction's");
    this.#suspended = false;
    this.redirectedTo = undefined;
    await this.#run(this.action[this.handlers[1]], { method, query, body });
    return this;
  }

  async #run(handler, request) {
    rule(typeof handler === "function", "the handler is missing");
    this.#continue = { ...request.query, ...request.body };
    const event = structuredClone({
      user: this.user,
      secrets: this.secrets,
      request: { hostname: HOSTNAME, ip: "192.0.2.1", ...request },
      transaction: { locale: "en", protocol: "oidc-basic-profile", ...this.transaction, ...this.metadataOf(this.#metadata) },
    });
    const api = this.apiOf(event);
    let timer;
    const tooLong = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new RuleBroken("a side of a redirect has 20 s")), SIDE_OF_REDIRECT_MS);
    });
    await Promise.race([handler(event, api), tooLong]).finally(() => clearTimeout(timer));
    if (this.redirectedTo !== undefined && this.deniedWith === undefined) this.#suspended = true;
  }

  // What both triggers have.
  redirectApi() {
    return {
      sendUserTo: (address, { query = {} } = {}) => {
        const url = new URL(address);
        for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
        rule(!url.searchParams.has("state"), "Auth0 adds its own state: an address must not have one");
        rule(!WITHOUT_BROWSER.includes(this.transaction.protocol), "no redirect is possible in this grant");
        rule(!this.transaction.prompt?.includes("none") && this.query.prompt !== "none", "interaction_required");
        url.searchParams.set("state", this.#state);
        this.redirectedTo = url.href;
      },
      validateToken: ({ secret, tokenParameterName = "session_token" }) => {
        const token = this.#continue[tokenParameterName];
        rule(token, `there is no parameter ${tokenParameterName}`);
        return validated(token, secret, { sub: this.user.user_id, state: this.#continue.state });
      },
    };
  }

  accessApi() {
    return { deny: (reason) => void (this.deniedWith = reason) };
  }

  setTransactionMetadata(event, key, value) {
    rule(typeof key === "string" && key.length <= 64, "a key of transaction metadata has 64 characters at most");
    rule(["string", "number", "boolean"].includes(typeof value), "transaction metadata is text, number or boolean");
    rule(bytes(value) <= 8 * 1024, "a value of transaction metadata has 8 KB at most");
    this.#metadata = { ...this.#metadata, [key]: value };
    event.transaction.metadata = this.#metadata;
  }
}

export class Login extends Transaction {
  handlers = ["onExecutePostLogin", "onContinuePostLogin"];

  metadataOf(metadata) {
    return { metadata };
  }

  apiOf(event) {
    return {
      access: this.accessApi(),
      redirect: this.redirectApi(),
      transaction: { setMetadata: (key, value) => this.setTransactionMetadata(event, key, value) },
      idToken: { setCustomClaim: (name, value) => this.#setClaim(name, value) },
      user: { setAppMetadata: (key, value) => this.#setAppMetadata(key, value) },
    };
  }

  #setClaim(name, value) {
    const host = new URL(name).hostname;
    rule(/^https?:/.test(name) && !/(^|\.)(auth0|webtask|webtask\.io)\.(com|io)$/.test(host), "a claim needs a namespace");
    this.claims = { ...this.claims, [name]: value };
    rule(bytes(this.claims) <= 100 * 1024, "custom claims have 100 KB at most");
  }

  #setAppMetadata(key, value) {
    rule(!/[.$]/.test(key), "a name of app_metadata has no dot and no dollar sign");
    const { [key]: _, ...others } = this.user.app_metadata ?? {};
    this.user.app_metadata = value === null ? others : { ...others, [key]: structuredClone(value) };
    this.updates = [...(this.updates ?? []), key];
    rule(bytes(this.user.app_metadata) <= 32 * 1024, "app_metadata has 32 KB at most");
  }
}

/** The trigger password-reset-post-challenge: no claims, no profile updates, no transaction metadata. */
export class PasswordReset extends Transaction {
  handlers = ["onExecutePostChallenge", "onContinuePostChallenge"];

  metadataOf() {
    return {};
  }

  apiOf() {
    return { access: this.accessApi(), redirect: this.redirectApi() };
  }
}

function validated(token, secret, expected) {
  const [header, payload, signature] = String(token).split(".");
  rule(signature !== undefined, "the session token is no JWT");
  const [{ alg, typ }, claims] = [header, payload].map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
  const made = createHmac("sha256", secret).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  rule(alg === "HS256" && typ?.toUpperCase() === "JWT", "the session token is not an HS256 JWT");
  rule(made.length === given.length && timingSafeEqual(made, given), "the session token's signature is wrong");
  for (const name of ["iat", "exp", "sub", "iss", "state"]) rule(name in claims, `the session token has no ${name}`);
  rule(claims.exp > Date.now() / 1000, "the session token has expired");
  rule(claims.sub === expected.sub, "the session token is about another user");
  rule(claims.state === expected.state, "the session token is of another transaction");
  return claims;
}
