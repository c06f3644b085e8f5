// curl against the proxy: both versions of HTTP, with and without TLS, and what it does by itself.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';

import { bytes, digestOf } from './support/bytes.js';
import { certificates } from './support/certificates.js';
import { bearer, inject, SERVICE } from './support/config.js';
import { curl } from './support/curl.js';
import { startOrigin } from './support/origin.js';
import { directory, startProxy } from './support/program.js';
import { startProvider } from './support/provider.js';

async function world(t, { listeners, origin: options, upstream, route, ...config } = {}) {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const origin = await startOrigin(t, options);
  const proxy = await startProxy(
    t,
    inject({
      provider,
      origin: upstream ? { url: origin.origin, ...upstream } : origin.origin,
      credential: SERVICE.credential,
      listeners,
      route,
      ...config,
    }),
  );
  return { provider, origin, proxy };
}

const http2 = { origin: { protocol: 'http2' }, upstream: { protocol: 'http2' } };
for (const [name, options] of [['HTTP/1.1', {}], ['HTTP/2', http2]]) {
  for (const [asked, flag, version] of [
    ['HTTP/1.1', '--http1.1', '1.1'],
    ['HTTP/2 by prior knowledge', '--http2-prior-knowledge', '2'],
  ]) {
    test(`${asked} to us, ${name} to the upstream: the token goes along, the path stays as it was`, async (t) => {
      const { origin, proxy } = await world(t, options);
      const target = '/imodels//x?$top=2&name=A&B%20c/+&e=%C3%A9';
      const answer = await curl([flag, '--path-as-is', '-H', 'Authorization: Bearer dummy', proxy.origin + target]);
      assert.equal(answer.status, 200, answer.body.toString());
      assert.equal(answer.version, version);
      assert.equal(answer.json().path, target);
      assert.equal(bearer(answer.json().authorization).split('.').length, 3);
      assert.equal(origin.requests[0].httpVersion, name === 'HTTP/2' ? '2.0' : '1.1');
    });
  }
}

test('over TLS the version is agreed by ALPN', async (t) => {
  const { ca, server } = certificates(t);
  const { proxy } = await world(t, {
    listeners: [
      { bind: '127.0.0.1:0', tls: { certificate: server.cert.file, key: server.key.file } },
    ],
  });
  for (const [flags, version] of [
    [['--http2'], '2'],
    [['--http1.1'], '1.1'],
    [['--no-alpn'], '1.1'],
    [['--http1.1', '--tls-max', '1.2'], '1.1'],
  ]) {
    const answer = await curl([...flags, '--cacert', ca.file, `${proxy.origin}/imodels`]);
    assert.equal(answer.status, 200);
    assert.equal(answer.version, version, flags.join(' '));
  }
});

test('a caller without the certificate that the listener asks for gets no connection', async (t) => {
  const { ca, server, client } = certificates(t);
  const { proxy } = await world(t, {
    listeners: [
      {
        bind: '127.0.0.1:0',
        tls: { certificate: server.cert.file, key: server.key.file, client_ca: ca.file },
      },
    ],
  });
  await assert.rejects(curl(['--cacert', ca.file, `${proxy.origin}/imodels`]), /ended with (35|55|56)/);
  const answer = await curl([
    '--cacert', ca.file, '--cert', client.cert.file, '--key', client.key.file,
    `${proxy.origin}/imodels`,
  ]);
  assert.equal(answer.status, 200);
});

test('over a Unix socket', async (t) => {
  const socket = path.join(directory(t), 'proxy.sock');
  const { proxy } = await world(t, { listeners: [{ bind: `unix:${socket}` }] });
  assert.ok(proxy.pid);
  const answer = await curl(['--unix-socket', socket, 'http://localhost/imodels']);
  assert.equal(answer.status, 200);
  assert.ok(bearer(answer.json().authorization));
});

test('Expect: 100-continue is answered before the body is sent', async (t) => {
  const { proxy } = await world(t);
  const answer = await curl([
    '--http1.1', '--expect100-timeout', '30', '-H', 'Expect: 100-continue', '--data-binary', '@-',
    `${proxy.origin}/imodels`,
  ], { input: bytes(3 << 20) });
  assert.equal(answer.status, 200);
  assert.match(answer.header, /^HTTP\/1.1 100 Continue/);
  assert.equal(answer.json().sha256, digestOf(3 << 20));
});

for (const flag of ['--http1.1', '--http2-prior-knowledge']) {
  test(`a body without a length goes up whole (${flag})`, async (t) => {
    const { proxy } = await world(t);
    const answer = await curl([flag, '-T', '-', `${proxy.origin}/upload`], { input: bytes(1_000_003) });
    assert.equal(answer.status, 200);
    assert.equal(answer.json().length, 1_000_003);
    assert.equal(answer.json().sha256, digestOf(1_000_003));
  });

  test(`HEAD and Range pass as they are (${flag})`, async (t) => {
    const { origin, proxy } = await world(t, {
      origin: {
        answer(request, response) {
          if (request.url !== '/file') return false;
          const headers = { 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes' };
          if (request.method === 'HEAD') {
            response.writeHead(200, { ...headers, 'content-length': '1000' }).end();
          } else {
            response
              .writeHead(206, { ...headers, 'content-range': 'bytes 0-0/1000', 'content-length': '1' })
              .end('i');
          }
          return true;
        },
      },
    });
    const head = await curl([flag, '-I', `${proxy.origin}/file`]);
    assert.equal(head.status, 200);
    assert.match(head.header, /content-length: 1000/i);
    const range = await curl([flag, '-r', '0-0', `${proxy.origin}/file`]);
    assert.equal(range.status, 206);
    assert.equal(range.body.toString(), 'i');
    assert.match(range.header, /content-range: bytes 0-0\/1000/i);
    assert.equal(origin.requests.at(-1).headers.range, 'bytes=0-0');
  });
}

test('two Authorization headers are refused, and nothing goes up', async (t) => {
  const { origin, proxy } = await world(t);
  const answer = await curl([
    '-H', 'Authorization: Bearer dummy', '-H', 'authorization: Basic eDp5', `${proxy.origin}/imodels`,
  ]);
  assert.equal(answer.status, 400);
  assert.ok(answer.json().error.code);
  assert.equal(origin.requests.length, 0);
});

test('a token that the upstream refuses is replaced and the call sent again with its body, once', async (t) => {
  const refused = new Set();
  const { provider, origin, proxy } = await world(t, {
    origin: {
      accept(token) {
        if (refused.size === 0) refused.add(token);
        return !refused.has(token);
      },
    },
  });
  const answer = await curl(['--data-binary', '@-', `${proxy.origin}/imodels`], { input: bytes(700_000) });
  assert.equal(answer.status, 200);
  assert.equal(answer.json().sha256, digestOf(700_000));
  assert.equal(origin.requests.length, 2);
  assert.equal(provider.issued, 2);
});

test('an upstream that refuses every token does not cost a token for each call', async (t) => {
  const { provider, origin, proxy } = await world(t, { origin: { accept: () => false } });
  for (let n = 0; n < 10; n += 1) {
    const answer = await curl([`${proxy.origin}/imodels`]);
    assert.equal(answer.status, 401);
    assert.equal(answer.json().error.message, 'refused');
  }
  assert.ok(provider.tokenRequests.length <= 3, `${provider.tokenRequests.length} token requests`);
  assert.ok(origin.requests.length <= 13, `${origin.requests.length} calls`);
});

test('a body that was too large to keep ends in the 401, with the reason in a header', async (t) => {
  const { origin, proxy } = await world(t, {
    route: { replay: { memory: '1KiB', total: '64KiB' } },
    origin: {
      async answer(request, response) {
        for await (const chunk of request) void chunk;
        response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":{"code":"Unauthorized"}}');
        return true;
      },
    },
  });
  const answer = await curl(['--data-binary', '@-', `${proxy.origin}/imodels`], { input: bytes(1 << 20) });
  assert.equal(answer.status, 401);
  assert.match(answer.header, /^(proxy-status|itwin-[a-z-]+):.*/im);
  assert.equal(origin.requests.length, 1);
});
