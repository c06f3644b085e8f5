// Which client is reached in which way: real packages, unmodified and without a token, each in a
// program of its own (agents/) in whose code nothing says that there is a proxy. A cell of the table
// is a test. The ways:
//
//   proxy     HTTPS_PROXY names a listener of the mode `forward`; names are not found
//   plain     HTTP_PROXY names it, and the URL is one with `http`
//   takeover  the names of the hosts lead to a listener with TLS
//
// Clients that are told the proxy's address: itwin.test.js, old-grants.test.js, authority.test.js.
import './support/network.js';

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { test } from 'node:test';

import { claims } from './support/config.js';
import { certificates } from './support/certificates.js';
import { startOrigin } from './support/origin.js';
import { BASE, IMODELS, NAMES, agent, startWorld } from './support/world.js';

const listed = { found: IMODELS };
/** What a client says that gets its token itself: it is the one of the proxy's credential. */
function handedOut({ token, error }, { sandbox }) {
  assert.equal(error, undefined);
  assert.equal(claims(token.replace(/^Bearer /i, '')).client_id, sandbox.client_id);
}

// What becomes of HTTPS_PROXY: a client sends its requests there in absolute form, or asks for
// tunnels, or goes past it.
const absolute = (came, env) => ({ came, env, tunnels: false });
const tunnels = (came, env) => ({ came, env, tunnels: true });
const PAST = 'past';

const list = ({ sandbox, scheme }) => `${scheme}://api.bentley.com/imodels?iTwinId=${sandbox.itwin_id}&$top=3`;
const imodels = (packages, what) => ({ sandbox, home }) =>
  ['node', 'agents/imodels.cjs', packages, what, sandbox.itwin_id, path.join(home, 'baseline')];
const today = (what, argument) => (world) => ['node', 'agents/today.mjs', what, ...(argument?.(world) ?? [])];
const ofITwin = ({ sandbox }) => [sandbox.itwin_id];
const generation2 = (what) => ({ sandbox }) => ['node', 'agents/generation2.cjs', what, sandbox.itwin_id];
const atIms = () => ({ imjs_itwin_platform_authority: 'https://ims.bentley.com' });
const prefixed = () => ({ IMJS_URL_PREFIX: 'foo-' });

const TABLE = {
  'imodels-client-management with axios 1.16.0': {
    run: imodels('legacy/axios', 'imodels'),
    proxy: absolute(listed),
    takeover: { came: listed },
  },
  'imodels-client-management with axios of today': {
    run: imodels('.', 'imodels'),
    proxy: tunnels(listed),
    takeover: { came: listed },
  },
  'imodels-client-authoring with axios 1.16.0': {
    run: imodels('legacy/axios', 'authoring'),
    proxy: absolute({ state: 'initialized' }),
    takeover: { came: { state: 'initialized' } },
  },
  'imodels-client-authoring with axios of today': {
    run: imodels('.', 'authoring'),
    proxy: tunnels({ state: 'initialized' }),
    takeover: { came: { state: 'initialized' } },
  },
  'itwins-client with axios 1.16.0': {
    run: imodels('legacy/axios', 'itwins'),
    proxy: absolute({ found: 2 }),
    takeover: { came: { found: 2 } },
  },
  'itwins-client with axios of today': {
    run: imodels('.', 'itwins'),
    proxy: tunnels({ found: 2 }),
    takeover: { came: { found: 2 } },
  },
  'itwins-client with IMJS_URL_PREFIX': {
    run: imodels('.', 'itwins'),
    takeover: { came: { found: 2 }, env: prefixed, only: 'foo-api.bentley.com' },
  },
  'reality-data-client': { run: today('reality-data'), proxy: PAST, takeover: { came: { found: 1 } } },
  'service-authorization': { run: today('service-authorization'), proxy: PAST, takeover: { came: handedOut } },
  'service-authorization with IMJS_URL_PREFIX': {
    run: today('service-authorization'),
    takeover: { came: handedOut, env: prefixed, only: 'foo-ims.bentley.com' },
  },
  'fetch of Node': { run: today('fetch', ofITwin), proxy: PAST, takeover: { came: { found: 3 } } },
  got: { run: today('got', ofITwin), proxy: PAST, takeover: { came: { found: 3 } } },
  'an agent of 1.x': {
    run: ({ sandbox }) => ['node', 'agents/generation1.cjs', sandbox.itwin_id],
    proxy: tunnels(listed),
    takeover: { came: listed },
  },
  'the sign-in of 2.x': {
    run: generation2('token'),
    proxy: tunnels(handedOut, atIms),
    takeover: { came: handedOut, env: atIms },
  },
  'imodelhub-client of 2.x': {
    run: generation2('hub'),
    proxy: tunnels({ ...listed, unverified: true }),
    takeover: { came: { ...listed, unverified: false } },
  },
  'an agent of 2.x': {
    run: generation2('agent'),
    proxy: tunnels({ ...listed, unverified: true }, atIms),
    takeover: { came: { ...listed, unverified: false }, env: atIms },
  },
  'Python requests': {
    run: (world) => ['python3', 'agents/agent.py', list(world)],
    trust: 'python',
    proxy: tunnels({ found: 3 }),
    plain: { found: 3 },
    takeover: { came: { found: 3 } },
  },
  curl: {
    run: (world) => ['bash', 'agents/agent.sh', list(world)],
    trust: 'curl',
    proxy: tunnels({ found: 3 }),
    plain: { found: 3 },
    takeover: { came: { found: 3 } },
  },
  'what the plugin for Unreal sends': {
    run: ({ sandbox }) => ['bash', 'agents/unreal.sh', sandbox.itwin_id],
    trust: 'curl',
    takeover: { came: { found: 3 } },
  },
  "Java's HttpClient": {
    run: (world) => ['java', ...world.java, 'agents/Agent.java', list(world)],
    trust: 'java',
    proxy: tunnels({ found: 3 }),
    plain: { found: 3 },
    takeover: { came: { found: 3 } },
  },
};

/** What URL discovery says under its own name. The sign-in of 1.x goes past HTTPS_PROXY. */
const discovery = (IMSOpenID) => ({
  url_discovery: {
    hosts: ['buddi.bentley.com'],
    urls: { IMSOpenID },
  },
});

async function world(t, rest) {
  const reality = await startOrigin(t, {
    answer(request, response) {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ realityData: [{ id: 'one', displayName: 'One' }], _links: {} }));
      return true;
    },
  });
  const route = { hosts: ['api.bentley.com'], path: '/reality-management/**', inject: 'agent', upstream: reality.origin };
  const base = await startWorld(t, { routes: [route], ...rest });
  return { ...base, reality, java: javaProxy(base.forward), scheme: 'https' };
}

async function expect(came, expected, all) {
  const { sandbox, proxy, reality } = all;
  if (typeof expected === 'function') expected(came, all);
  else assert.deepEqual(came, expected, proxy.lines.slice(-8).join('\n'));
  // nothing went to a service without the proxy's token, and to storage with one
  const counts = await sandbox.counts();
  assert.equal(counts.hub_authorized, counts.hub_requests);
  assert.equal(counts.storage_with_authorization, 0);
  assert.equal(counts.tokens_issued, 1);
  const tokens = reality.requests.map(({ authorization }) => claims(authorization).client_id);
  assert.ok(tokens.every((client) => client === sandbox.client_id));
}

/** The JDK asks no environment. */
function javaProxy(origin) {
  const { hostname, port } = new URL(origin);
  return ['https', 'http'].flatMap((scheme) => [
    `-D${scheme}.proxyHost=${hostname}`,
    `-D${scheme}.proxyPort=${port}`,
  ]);
}

/** What the proxy logged of requests, read to its end. */
async function logged({ proxy }) {
  await proxy.stop();
  return proxy.requestLines;
}

const tunnelled = async (all) => (await logged(all)).some((line) => line.method === 'CONNECT');

for (const [client, { run, trust = 'node', proxy, plain, takeover }] of Object.entries(TABLE)) {
  if (proxy === PAST) {
    test(`${client} goes past HTTPS_PROXY`, async (t) => {
      const all = await world(t);
      const { error } = await agent(t, all, run(all), { env: { HTTPS_PROXY: all.forward } });
      assert.ok(error, 'there was nothing that it could reach');
      assert.deepEqual(await logged(all), []);
    });
  } else if (proxy) {
    const how = proxy.tunnels ? 'a tunnel that is opened' : 'requests in absolute form';
    test(`${client} by HTTPS_PROXY, with ${how}`, async (t) => {
      const all = await world(t, discovery(`http://${BASE}/authority`));
      const env = { HTTPS_PROXY: all.forward, NO_PROXY: '127.0.0.1,localhost', ...proxy.env?.(all) };
      const came = await agent(t, all, run(all), { env, trust });
      await expect(came, proxy.came, all);
      assert.equal(await tunnelled(all), proxy.tunnels);
    });
  }
  if (plain) {
    test(`${client} by HTTP_PROXY`, async (t) => {
      const all = { ...(await world(t)), scheme: 'http' };
      // curl knows it in lower case only
      const came = await agent(t, all, run(all), { env: { http_proxy: all.forward } });
      await expect(came, plain, all);
    });
  }
  if (takeover) {
    test(`${client} where ${takeover.only ?? 'each name'} leads to the proxy`, async (t) => {
      const all = await world(t, discovery('https://ims.bentley.com'));
      const here = takeover.only ? [takeover.only] : NAMES;
      all.java = [];
      const names = Object.fromEntries(here.map((name) => [name, '127.0.0.1']));
      const came = await agent(t, all, run(all), { env: takeover.env?.(all), trust, names });
      await expect(came, takeover.came, all);
      assert.equal(await tunnelled(all), false);
    });
  }
}

test('storage-blob reaches its storage by a tunnel that nobody opens', async (t) => {
  const { ca, server } = certificates(t, 'DNS:account.blob.core.windows.net');
  const storage = https.createServer({ key: server.key.pem, cert: server.cert.pem });
  const seen = [];
  storage.on('request', async (request, response) => {
    seen.push({ url: request.url, authorization: request.headers.authorization });
    request.resume();
    await once(request, 'end');
    const upload = request.method === 'PUT';
    response.writeHead(upload ? 201 : 200, { etag: '"1"', 'content-length': upload ? 0 : 11 });
    response.end(upload || request.method === 'HEAD' ? '' : 'the content');
  });
  storage.listen(443, '127.0.0.2');
  await once(storage, 'listening');
  t.after(() => {
    storage.close();
    storage.closeAllConnections();
  });

  const all = await world(t, { forward: { hosts: ['*.blob.core.windows.net'], networks: ['127.0.0.2/32'] } });
  const signed = '/container/blob?sv=2024-11-04&sr=b&sp=rw&sig=a%2Bb%2Fc%3D';
  const came = await agent(t, all, ['node', 'agents/today.mjs', 'storage', `https://account.blob.core.windows.net${signed}`], {
    // the storage's own authority, and not the proxy's
    env: { HTTPS_PROXY: all.forward, NODE_EXTRA_CA_CERTS: ca.file },
  });
  assert.deepEqual(came, { content: 'the content' });
  assert.ok(seen.length >= 2);
  for (const { url, authorization } of seen) {
    assert.ok(url.includes('sig=a%2Bb%2Fc%3D'), url);
    assert.equal(authorization, undefined);
  }
  const lines = await logged(all);
  assert.ok(lines.length > 0 && lines.every(({ method, host }) => method === 'CONNECT' && host === 'account.blob.core.windows.net:443'));
});

test('an agent of 2.x goes on checking certificates where the proxy of HTTPS_PROXY has one', async (t) => {
  const { ca, server } = certificates(t);
  const tls = { certificate: server.cert.file, key: server.key.file };
  const all = await world(t, { ...discovery('https://ims.bentley.com'), forward: { tls } });
  const both = path.join(all.home, 'both.pem');
  writeFileSync(both, ca.pem + readFileSync(all.ca));
  const proxy = all.forward.replace('127.0.0.1', 'localhost').replace('http:', 'https:');
  const came = await agent(t, all, generation2('agent')(all), { env: { HTTPS_PROXY: proxy, NODE_EXTRA_CA_CERTS: both } });
  await expect(came, { ...listed, unverified: false }, all);
  assert.ok(await tunnelled(all));
});

for (const packages of ['.', 'legacy/axios']) {
  test(`a company's HTTP_PROXY takes calls that are meant for us, but for NO_PROXY (${packages})`, async (t) => {
    const all = await world(t);
    const command = [...imodels(packages, 'imodels')(all), `http://${BASE}/imodels`];
    const HTTP_PROXY = 'http://127.0.0.1:9'; // nobody
    const astray = await agent(t, all, command, { env: { HTTP_PROXY } });
    assert.ok(astray.error, JSON.stringify(astray));
    assert.deepEqual(all.proxy.requestLines, []);
    const came = await agent(t, all, command, { env: { HTTP_PROXY, NO_PROXY: '127.0.0.1,localhost' } });
    await expect(came, listed, all);
  });
}
