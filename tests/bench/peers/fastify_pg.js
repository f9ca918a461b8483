// A read and an insert by key, as somebody builds them who takes Fastify and pg.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import Fastify from 'fastify'
import pg from 'pg'

const MEMBERS = ['user_id', 'completed_at', 'interview_id', 'identity_id', 'error', 'data']
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 })
const key = sha256(process.env.API_KEY)
const app = Fastify()

function sha256 (text) {
  return createHash('sha256').update(text).digest()
}

app.addHook('onRequest', async (request, reply) => {
  const [scheme, sent = ''] = (request.headers.authorization ?? '').split(' ')
  if (scheme !== 'Bearer' || !timingSafeEqual(sha256(sent), key)) return reply.code(401).send({})
})

const text = { type: 'string', nullable: true }
const properties = { completed: { type: 'boolean' }, ...Object.fromEntries(MEMBERS.map(name => [name, text])) }
app.get('/v1/users/:id', { schema: { response: { 200: { type: 'object', properties } } } }, async request => {
  const { rows } = await pool.query({
    name: 'user',
    text: `SELECT completed, completed_at::text, user_id, interview_id, identity_id, error, data
      FROM peer_users WHERE user_id = $1`,
    values: [request.params.id]
  })
  return rows[0]
})

const body = {
  type: 'object', required: ['user_id'], properties: { user_id: { type: 'string' } }, additionalProperties: false
}
app.post('/v1/verifications', { schema: { body } }, async request => {
  const id = 'idv_' + randomBytes(16).toString('hex')
  await pool.query({
    name: 'verification',
    text: `INSERT INTO peer_verifications (id, user_id, status, created_at, data)
      VALUES ($1, $2, 'pending', now(), $3)`,
    values: [id, request.body.user_id, 'x'.repeat(300)]
  })
  return { action: 'redirect', id, user_id: request.body.user_id }
})

await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
