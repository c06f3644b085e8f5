// Large bodies: all of them arrive, and the proxy's memory does not notice.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { test } from 'node:test';
import { pipeline } from 'node:stream/promises';
import { Writable } from 'node:stream';

import { bytes, digestOf } from './support/bytes.js';
import { inject, SERVICE } from './support/config.js';
import { startOrigin } from './support/origin.js';
import { startProxy } from './support/program.js';
import { startProvider } from './support/provider.js';

const MiB = 1 << 20;
const GiB = 1 << 30;
/** What a body may add to the resident memory: windows, buffers and the allocator's slack. */
const SLACK = 24 * MiB;

async function world(t, protocol) {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const origin = await startOrigin(t, {
    protocol,
    // Counted, not hashed: at a gigabyte the hash would be what is measured.
    async answer(request, response) {
      if (request.url !== '/count') return false;
      let length = 0;
      for await (const chunk of request) length += chunk.length;
      response.end(JSON.stringify({ length }));
      return true;
    },
  });
  const upstream = { url: origin.origin, protocol };
  const config = inject({ provider, origin: upstream, credential: SERVICE.credential });
  const proxy = await startProxy(t, config);
  await (await fetch(`${proxy.origin}/imodels`)).arrayBuffer();
  return { origin, proxy };
}

/** The most memory the proxy held while `work` went on, beyond what it held before. */
async function growth(proxy, work) {
  const before = proxy.memory();
  let most = before;
  const timer = setInterval(() => { most = Math.max(most, proxy.memory()); }, 20);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return Math.max(most, proxy.memory()) - before;
}

const counter = () => {
  const sink = new Writable({
    write(chunk, _encoding, done) {
      sink.length += chunk.length;
      done();
    },
  });
  sink.length = 0;
  return sink;
};

/** A request as a stream, over either version of HTTP. */
function open(t, protocol, origin, method, path, headers = {}) {
  if (protocol === 'http1') {
    const request = http.request(origin + path, { method, headers });
    const answer = new Promise((resolve, reject) => {
      request.once('response', resolve);
      request.once('error', reject);
    });
    return { request, answer };
  }
  const session = http2.connect(origin, { settings: { initialWindowSize: MiB } });
  t.after(() => session.destroy());
  const request = session.request({ ':method': method, ':path': path, ...headers });
  const answer = new Promise((resolve, reject) => {
    request.once('response', () => resolve(request));
    request.once('error', reject);
  });
  return { request, answer };
}

for (const protocol of ['http1', 'http2']) {
  test(`a gigabyte comes down over ${protocol} in flat memory`, async (t) => {
    const { proxy } = await world(t, protocol);
    const sink = counter();
    const grown = await growth(proxy, async () => {
      const { request, answer } = open(t, protocol, proxy.origin, 'GET', `/bytes/${GiB}`);
      request.end();
      await pipeline(await answer, sink);
    });
    assert.equal(sink.length, GiB);
    assert.ok(grown < SLACK, `grew by ${grown / MiB} MiB`);
  });

  test(`a gigabyte goes up over ${protocol} in flat memory`, async (t) => {
    const { proxy } = await world(t, protocol);
    let counted;
    const grown = await growth(proxy, async () => {
      const { request, answer } = open(t, protocol, proxy.origin, 'PUT', '/count');
      const sent = pipeline(bytes(GiB), request);
      const response = await answer;
      response.setEncoding('utf8');
      let text = '';
      for await (const chunk of response) text += chunk;
      await sent;
      counted = JSON.parse(text).length;
    });
    assert.equal(counted, GiB);
    assert.ok(grown < SLACK, `grew by ${grown / MiB} MiB`);
  });

  test(`a reader that stops reading over ${protocol} holds the upstream back, not the memory`, async (t) => {
    const { proxy } = await world(t, protocol);
    const grown = await growth(proxy, async () => {
      const { request, answer } = open(t, protocol, proxy.origin, 'GET', `/bytes/${GiB}`);
      request.on('error', () => {});
      request.end();
      const response = await answer;
      response.on('error', () => {});
      response.pause();
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      (response.destroy ?? request.destroy).call(response);
    });
    assert.ok(grown < SLACK, `grew by ${grown / MiB} MiB`);
  });

  test(`every byte is the caller's over ${protocol}`, async (t) => {
    const { proxy } = await world(t, protocol);
    const size = 37 * MiB + 11;
    const { request, answer } = open(t, protocol, proxy.origin, 'GET', `/bytes/${size}`);
    request.end();
    const digest = createHash('sha256');
    for await (const chunk of await answer) digest.update(chunk);
    assert.equal(digest.digest('hex'), digestOf(size));
  });
}

test('a caller that goes away in the middle is noticed by the upstream', async (t) => {
  const { origin, proxy } = await world(t, 'http1');
  const { request, answer } = open(t, 'http1', proxy.origin, 'GET', `/bytes/${GiB}`);
  request.on('error', () => {});
  request.end();
  const response = await answer;
  response.on('error', () => {});
  response.once('data', () => request.destroy());
  const end = Date.now() + 5_000;
  while (!origin.requests.at(-1).error) {
    assert.ok(Date.now() < end, 'the upstream still sends');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});
