// The OpenID-certified provider `oidc-provider`, as the tests need it: any user signs in with any
// password through its own login form, clients register themselves (RFC 7591), and a test decides
// what is claimed about whom.
//
//   node oidc-provider.mjs [PORT]      PORT 0 or absent: any free port
//
// Prints one JSON line {"issuer", "control"} when it serves, and ends when its stdin does, so that it
// never outlives the test binary, however that ends. It lives at `localhost`, so that a browser keeps
// its cookies apart from those of a proxy at 127.0.0.1: cookies know hosts, not ports.
//
// Control server (loopback, JSON):
//   POST /claims {"alice": {...}}     replaces what is claimed about these users
//   POST /access-claims {"alice": {}} replaces what access tokens say of these users and clients
//   POST /lifetime {"CLIENT": 5}      ID and access tokens for that client live so many seconds
//   POST /client {"client_id": ...}   knows this client (RFC 7591 metadata) under the id that it names
//   POST /rotate {"keep": true}       new signing keys; the old ones stay published, or not
//   POST /fail {"path": "/token", "status": 503}   answers so there until told {"path", "status": 0}
//   POST /tenants {"ids": [GUID], "home": GUID}   has an issuer below /GUID/v2.0 for each of these tenants, and one door to
//                                     all of them below /organizations/v2.0, as Entra ID; whoever signs in there is of `home`
//   POST /revoke {"user": "alice"}    takes back every grant of that person
//   GET  /seen                        {"requests": ["GET /auth"], "secrets": [tokens and codes given out]}
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import Provider from 'oidc-provider';

const claimsOf = new Map();
const accessClaimsOf = new Map();
const lifetimeOf = new Map();
const failing = new Map();
const seen = { requests: [], secrets: [] };
const SCOPES = {
  openid: ['sub', 'tid'],
  profile: ['name', 'given_name', 'family_name', 'preferred_username', 'nickname', 'picture', 'gender', 'locale', 'zoneinfo', 'updated_at',
    'department', 'company', 'employee_number', 'phone_number', 'groups', 'hasgroups', '_claim_names', '_claim_sources'],
  email: ['email', 'email_verified'],
};

/** Everything the provider keeps, without the bundled store's limit of 1,000 entries. */
const rows = new Map();
class Kept {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model} ${id}`; }

  async upsert(id, payload) { rows.set(this.key(id), payload); }

  async find(id) { return rows.get(this.key(id)); }

  async findBy(field, value) {
    for (const [key, payload] of rows) if (key.startsWith(`${this.model} `) && payload[field] === value) return payload;
    return undefined;
  }

  async findByUid(uid) { return this.findBy('uid', uid); }

  async findByUserCode(code) { return this.findBy('userCode', code); }

  async destroy(id) { rows.delete(this.key(id)); }

  async consume(id) { rows.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }

  async revokeByGrantId(grant) {
    for (const [key, payload] of rows) if (payload.grantId === grant) rows.delete(key);
  }
}

const newKeys = () => [['RS256', 'rsa', { modulusLength: 2048 }], ['ES256', 'ec', { namedCurve: 'P-256' }]].map(
  ([alg, kind, options]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
    alg, use: 'sig', kid: `${alg}-${randomBytes(6).toString('hex')}`,
  }));

async function account(sub, tenant) {
  const made = { name: sub, given_name: 'Given', family_name: 'Family', preferred_username: sub,
    email: `${sub}@example.test`, email_verified: true };
  return { accountId: sub, claims: () => ({ ...(claimsOf.get(sub) ?? made), sub, ...tenant }) };
}

/**
 * Everybody agrees to everything: the consent page is not what is tested here. One grant a person, client and
 * API, since a session that is given another one at each request ends the codes of those before.
 */
const grants = new Map();
async function agreed(ctx) {
  const { client, session, provider } = ctx.oidc;
  const key = `${session.accountId} ${client.clientId} ${ctx.oidc.params.resource ?? ''}`;
  const known = grants.has(key) && (await provider.Grant.find(await grants.get(key)));
  if (known) return known;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope('openid profile email offline_access');
  for (const resource of [ctx.oidc.params.resource ?? []].flat()) grant.addResourceScope(resource, 'read write');
  grants.set(key, grant.save());
  await grants.get(key);
  return grant;
}

function provider(issuer, keys, tid) {
  const built = new Provider(issuer, {
    adapter: class extends Kept { async upsert(id, payload) { return super.upsert(id, { ...payload, tid }); } },
    jwks: { keys },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    scopes: ['openid', 'offline_access'],
    claims: SCOPES,
    conformIdTokenClaims: false,
    findAccount: (_ctx, sub) => account(sub, tid && { tid }),
    loadExistingGrant: agreed,
    // Its own would not reach a client on loopback.
    fetch: (url, { dispatcher: _, ...options }) => globalThis.fetch(url, options),
    // Who may use refresh tokens gets them without the consent page that the standard asks for.
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    features: {
      backchannelLogout: { enabled: true },
      devInteractions: { enabled: true },
      registration: { enabled: true, initialAccessToken: false },
      rpInitiatedLogout: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => false,
        // Any API: its access tokens are JWTs for it alone (RFC 8707, RFC 9068).
        getResourceServerInfo: (_ctx, resource, client) => ({
          scope: 'read write', audience: resource, accessTokenFormat: 'jwt',
          accessTokenTTL: lifetimeOf.get(client.clientId) ?? 3600, jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: (_ctx, token) => accessClaimsOf.get(token.accountId ?? token.clientId)
      ?? (token.accountId && { 'com.workflowgen.api.username': (claimsOf.get(token.accountId) ?? {}).preferred_username ?? token.accountId }),
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
    ttl: {
      IdToken: (_ctx, _token, client) => lifetimeOf.get(client.clientId) ?? 3600,
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? 3600,
      AuthorizationCode: 60, Grant: 86400, RefreshToken: 86400, Interaction: 600, Session: 86400,
    },
  });
  built.on('grant.success', ({ body }) => {
    seen.secrets.push(...['access_token', 'id_token', 'refresh_token'].flatMap((name) => body[name] ?? []));
  });
  for (const event of ['authorization.error', 'grant.error', 'end_session.error', 'server_error', 'userinfo.error', 'backchannel.error']) {
    built.on(event, (_ctx, error) => console.error(event, error.error ?? '', error.error_description ?? error.stack));
  }
  return built.callback();
}

async function listening(server, port) {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

/** Tenants and what answers for each. */
const tenants = new Map();
let home;
const TEMPLATE = '{tenantid}';
const of = (tenant, path = '') => `${issuer}/${tenant}/v2.0${path}`;

/** A tenant's provider answers as if it alone were there. */
function asTenant(tenant, path, request, response) {
  request.originalUrl = `/${tenant}/v2.0${path}`;
  request.url = path;
  tenants.get(tenant)(request, response);
}

async function asked(tenant, path) {
  return (await fetch(of(tenant, path))).json();
}

/** Whose a grant is that somebody redeems, or an access token that somebody shows. */
async function tenantOf(request) {
  const bearer = request.headers.authorization?.match(/^Bearer (.*)/)?.[1];
  if (bearer) return rows.get(`AccessToken ${bearer}`)?.tid;
  let text = '';
  for await (const chunk of request) text += chunk;
  request.body = Object.fromEntries(new URLSearchParams(text));
  return (rows.get(`AuthorizationCode ${request.body.code}`) ?? rows.get(`RefreshToken ${request.body.refresh_token}`))?.tid;
}

/** One door to all tenants. */
async function organizations(path, request, response) {
  const [name, query] = path.split('?');
  const json = (body) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  switch (name) {
    case '/.well-known/openid-configuration': {
      const document = JSON.stringify(await asked(home, path)).replaceAll(`/${home}/v2.0/`, '/organizations/v2.0/');
      return json({ ...JSON.parse(document), issuer: of(TEMPLATE) });
    }
    case '/jwks': {
      const { keys: own } = await asked(home, path);
      return json({ keys: own.map((key) => ({ ...key, issuer: of(TEMPLATE) })) });
    }
    case '/auth': return response.writeHead(302, { location: of(home, path) }).end();
    case '/session/end': {
      const hint = new URLSearchParams(query).get('id_token_hint')?.split('.')[1] ?? '';
      const { tid } = JSON.parse(Buffer.from(hint, 'base64url').toString() || '{}');
      return response.writeHead(302, { location: of(tid ?? home, path) }).end();
    }
    default: return asTenant((await tenantOf(request)) ?? home, path, request, response);
  }
}

let keys = newKeys();
let answer;
const front = createServer((request, response) => {
  const path = request.url.split('?')[0];
  seen.requests.push(`${request.method} ${path}`);
  if (failing.get(path)) {
    response.writeHead(failing.get(path), { 'content-type': 'text/plain' }).end('as a test asked for');
    return;
  }
  const [, tenant, below] = request.url.match(/^\/([^/]+)\/v2\.0(\/.*)/) ?? [];
  if (tenant === 'organizations') organizations(below, request, response);
  else if (tenants.has(tenant)) asTenant(tenant, below, request, response);
  else if (tenant) response.writeHead(400, { 'content-type': 'application/json' }).end('{"error": "invalid_tenant"}');
  else answer(request, response);
});
const port = await listening(front, Number(process.argv[2] ?? 0));
const issuer = `http://localhost:${port}`;
answer = provider(issuer, keys);

const CONTROLS = {
  '/claims': (body) => Object.entries(body).forEach(([sub, claims]) => claimsOf.set(sub, claims)),
  '/access-claims': (body) => Object.entries(body).forEach(([who, claims]) => accessClaimsOf.set(who, claims)),
  '/lifetime': (body) => Object.entries(body).forEach(([client, seconds]) => lifetimeOf.set(client, seconds)),
  '/client': (body) => new Kept('Client').upsert(body.client_id, body),
  '/fail': ({ path, status }) => failing.set(path, status),
  '/revoke': ({ user }) => {
    for (const [key, payload] of rows) if (payload.accountId === user && key.startsWith('RefreshToken ')) rows.delete(key);
  },
  '/rotate': ({ keep }) => {
    keys = [...newKeys(), ...(keep ? keys : [])];
    answer = provider(issuer, keys);
  },
  '/tenants': ({ ids, home: next }) => {
    for (const id of ids) if (!tenants.has(id)) tenants.set(id, provider(of(id), keys, id));
    home = next;
  },
  '/seen': () => seen,
};
const control = createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const act = CONTROLS[request.url];
  response.writeHead(act ? 200 : 404, { 'content-type': 'application/json' });
  response.end(JSON.stringify(act?.(text ? JSON.parse(text) : {}) ?? {}));
});
const controlPort = await listening(control, 0);

process.stdin.on('end', () => process.exit(0)).resume();
console.log(JSON.stringify({ issuer, control: `127.0.0.1:${controlPort}` }));
