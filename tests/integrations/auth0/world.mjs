/** The running service and sandbox, as the environment names them, the people, and their browsers. */

import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";
import { createServer, get } from "node:http";

import { HOSTNAME, loadAction } from "./tenant.mjs";

const { GATEWAY, BLOCKING_GATEWAY, IDP_KEY, ADMIN_KEY, REDIRECT_SECRET, WIRE } = process.env;

export { REDIRECT_SECRET };
export const CLAIM = "https://incode.com/idv";
/** Goes on without the claim where a verification fails; one stands for 30 days. */
export const open = { IDV_URL: GATEWAY, IDV_API_KEY: IDP_KEY };
/** Denies; and a verification is due again at once. */
export const blocking = { IDV_URL: `${BLOCKING_GATEWAY}/`, IDV_API_KEY: IDP_KEY, BLOCK_ON_FAILURE: "true" };

/** An Action whose requests are noted down for the test of the documents, and what it logs. */
export function action(file) {
  const log = [];
  return { ...loadAction(file, { fetch: noted, log }), log };
}

async function noted(url, options) {
  const response = await fetch(url, options);
  const request = options.body ? JSON.parse(options.body) : null;
  const answer = await response.clone().json().catch(() => null);
  const { pathname } = new URL(url);
  appendFileSync(WIRE, `${JSON.stringify({ method: options.method, path: pathname, request, status: response.status, answer })}\n`);
  return response;
}

/** A server of the test's own in the gateway's place, while `use` runs with its address. */
export async function answering(respond, use) {
  const server = createServer(respond);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use({ IDV_URL: `http://127.0.0.1:${server.address().port}` });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** An address where nobody listens any more. */
export const away = await answering(() => {}, async (address) => address);

/** Let the limits that an Action sets itself pass at once; returns the limits, in milliseconds. */
export function hurried(t) {
  const limits = [];
  const { timeout } = AbortSignal;
  t.mock.method(AbortSignal, "timeout", (milliseconds) => {
    limits.push(milliseconds);
    return timeout.call(AbortSignal, 50);
  });
  return limits;
}

export function newUser() {
  const name = randomUUID();
  return { user_id: `auth0|${name}`, email: `${name}@example.com`, app_metadata: {} };
}

export async function asAdmin(path, body = undefined) {
  const response = await fetch(GATEWAY + path, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Bearer ${ADMIN_KEY}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  return response.json();
}

export const statusOf = (user) => asAdmin(`/v1/users/${encodeURIComponent(user.user_id)}`);

/** A browser with its cookies. */
export class Browser {
  #cookies = new Map();

  /** Follow redirects to the identity provider; at the provider's page, the person gets `outcome`. Returns what arrives there. */
  async goTo(address, outcome = "verified") {
    let url = new URL(address);
    while (url.hostname !== HOSTNAME) {
      if (url.pathname === "/oauth2/authorize") url.searchParams.set("outcome", outcome);
      const response = await this.#get(url);
      if (response.status !== 303) throw new Error(`${url.pathname} answers ${response.status}`);
      url = new URL(response.location, url);
    }
    if (url.pathname !== "/continue") throw new Error(`came to ${url.pathname}`);
    return Object.fromEntries(url.searchParams);
  }

  #get(url) {
    const cookie = [...(this.#cookies.get(url.host) ?? new Map())].map(([name, value]) => `${name}=${value}`).join("; ");
    return new Promise((resolve, reject) => {
      get(url, { headers: cookie ? { cookie } : {} }, (response) => {
        response.resume();
        this.#keep(url.host, response.headers["set-cookie"] ?? []);
        resolve({ status: response.statusCode, location: response.headers.location });
      }).on("error", reject);
    });
  }

  #keep(host, given) {
    const jar = this.#cookies.get(host) ?? new Map();
    for (const cookie of given) {
      const [pair] = cookie.split(";");
      jar.set(pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1));
    }
    this.#cookies.set(host, jar);
  }
}

/** What arrives at /continue once the person has been through the redirect. */
export async function visit(transaction, outcome) {
  return new Browser().goTo(transaction.redirectedTo, outcome);
}
