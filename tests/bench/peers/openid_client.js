// The callback alone, without a database and without verifying the ID token's signature, as openid-client does it.
import { createServer } from 'node:http'
import * as client from 'openid-client'

const { ISSUER, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, PORT } = process.env
const config = await client.discovery(
  new URL(ISSUER), CLIENT_ID, undefined, client.ClientSecretPost(CLIENT_SECRET),
  { execute: ISSUER.startsWith('http:') ? [client.allowInsecureRequests] : [] }
)

async function read (request) {
  const pieces = []
  for await (const piece of request) pieces.push(piece)
  return JSON.parse(Buffer.concat(pieces).toString())
}

async function finish ({ code, state, iss, verifier, nonce }) {
  const url = new URL(REDIRECT_URI)
  url.search = new URLSearchParams({ code, state, iss })
  const tokens = await client.authorizationCodeGrant(config, url, {
    pkceCodeVerifier: verifier, expectedNonce: nonce, expectedState: state, idTokenExpected: true
  })
  const claims = tokens.claims()
  return { reason: 'verified', claims, pii: await client.fetchUserInfo(config, tokens.access_token, claims.sub) }
}

createServer(async (request, response) => {
  let status = 200
  let answer
  try {
    answer = await finish(await read(request))
  } catch (error) {
    status = 400
    answer = { reason: String(error), cause: String(error.cause) }
  }
  const text = JSON.stringify(answer)
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) })
  response.end(text)
}).listen(Number(PORT), '127.0.0.1')
