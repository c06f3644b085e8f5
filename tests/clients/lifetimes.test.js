// Real seconds pass here: tokens expire, the certified server goes away and comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bearer, claims, inject, SERVICE } from './support/config.js';
import { startOrigin } from './support/origin.js';
import { pause, startProxy } from './support/program.js';
import { startProvider } from './support/provider.js';

/**
 * An API that checks what a real one checks first: the token has not expired. One second of leeway,
 * because `exp` counts whole seconds from a moment that was cut to whole seconds.
 */
function strict(token) {
  return Boolean(token) && claims(token).exp + 1 > Date.now() / 1000;
}

async function world(t, { lifetime, route }) {
  const provider = await startProvider(t, { clients: [SERVICE.client], lifetime });
  const origin = await startOrigin(t, { accept: strict });
  const proxy = await startProxy(
    t,
    inject({
      provider,
      origin: origin.origin,
      credential: SERVICE.credential,
      route: { inject: { credential: 'agent', min_remaining: '1s', ...route } },
    }),
  );
  return { provider, origin, proxy };
}

/** Calls from several callers at once until `done`; answers how often each status came. */
function load(url, callers, done) {
  const statuses = {};
  let over = false;
  done.finally(() => { over = true; });
  const caller = async () => {
    while (!over) {
      const status = await fetch(url).then(
        async (answer) => (await answer.arrayBuffer(), answer.status),
        (error) => `failed: ${error.cause?.code ?? error.message}`,
      );
      statuses[status] = (statuses[status] ?? 0) + 1;
      await pause(5);
    }
  };
  return Promise.all(Array.from({ length: callers }, caller)).then(() => statuses);
}

test('tokens that live four seconds are renewed before they end, and no call notices', async (t) => {
  const { provider, origin, proxy } = await world(t, { lifetime: 4 });
  const statuses = await load(`${proxy.origin}/imodels`, 8, pause(10_000));
  assert.deepEqual(Object.keys(statuses), ['200'], JSON.stringify(statuses));
  const tokens = new Set(origin.requests.map((request) => bearer(request.authorization)));
  assert.ok(tokens.size >= 3, `${tokens.size} tokens in ten seconds`);
  assert.ok(provider.issued <= 8, `${provider.issued} token requests in ten seconds`);
});

test('the provider is gone for most of a token\'s life, under load, and no call fails', async (t) => {
  const { provider, proxy } = await world(t, { lifetime: 20 });
  await fetch(`${proxy.origin}/imodels`);
  const outage = (async () => {
    await pause(1_000);
    await provider.down();
    // Twenty seconds of life, of which one and a half have passed: back before the end.
    await pause(15_000);
    await provider.up();
    await pause(6_000);
  })();
  const statuses = await load(`${proxy.origin}/imodels`, 16, outage);
  assert.deepEqual(Object.keys(statuses), ['200'], JSON.stringify(statuses));
  assert.ok(statuses[200] > 2_000, JSON.stringify(statuses));
  assert.ok(provider.issued >= 2, 'the token was renewed after the outage');
});

test('the provider is gone for longer: 503 with a reason, never an expired token, then 200 again', async (t) => {
  const { provider, proxy } = await world(t, { lifetime: 4, route: { wait: '1s' } });
  await fetch(`${proxy.origin}/imodels`);
  await provider.down();
  const statuses = await load(`${proxy.origin}/imodels`, 4, pause(7_000));
  assert.ok(statuses[200] > 0 && statuses[503] > 0, JSON.stringify(statuses));
  assert.deepEqual(Object.keys(statuses).sort(), ['200', '503'], JSON.stringify(statuses));
  const answer = await fetch(`${proxy.origin}/imodels`);
  assert.equal(answer.status, 503);
  assert.ok(answer.headers.get('retry-after'));
  assert.ok((await answer.json()).error.code);
  await provider.up();
  const end = Date.now() + 12_000;
  let status;
  while (status !== 200 && Date.now() < end) {
    status = (await fetch(`${proxy.origin}/imodels`)).status;
    await pause(100);
  }
  assert.equal(status, 200, 'it serves again when the provider is back');
});

test('a provider that is down at the start: the proxy starts, says what it waits for, and serves when it is up', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const origin = await startOrigin(t);
  await provider.down();
  const proxy = await startProxy(
    t,
    inject({ provider, origin: origin.origin, credential: SERVICE.credential }),
    { ready: false },
  );
  const notReady = await fetch(`${proxy.admin}/ready`);
  assert.equal(notReady.status, 503);
  assert.match(await notReady.text(), /agent/);
  assert.equal((await fetch(`${proxy.admin}/live`)).status, 200);
  await provider.up();
  const end = Date.now() + 15_000;
  while (!(await fetch(`${proxy.admin}/ready`)).ok) {
    assert.ok(Date.now() < end, 'ready once the provider is there');
    await pause(50);
  }
  assert.equal((await fetch(`${proxy.origin}/imodels`)).status, 200);
});

test('a thousand first calls at once cost one token request', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const origin = await startOrigin(t);
  const proxy = await startProxy(
    t,
    inject({ provider, origin: origin.origin, credential: SERVICE.credential }),
    { ready: false },
  );
  const answers = await Promise.all(
    Array.from({ length: 1_000 }, async (_, n) => {
      const answer = await fetch(`${proxy.origin}/imodels/${n}`);
      await answer.arrayBuffer();
      return answer.status;
    }),
  );
  assert.ok(answers.every((status) => status === 200));
  assert.equal(provider.tokenRequests.length, 1);
});
