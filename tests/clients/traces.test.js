// Traces, as a collector receives them that knows OTLP by its official package.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { attributes, startCollector } from './support/collector.js';
import { startOrigin } from './support/origin.js';
import { startProxy, startSandbox, until } from './support/program.js';

const TRACE = '12345678901234567890123456789012';
const PARENT = '1234567890123456';

async function traced(t, { otlp = {}, ...rest } = {}) {
  const [collector, origin, sandbox] = [await startCollector(t), await startOrigin(t), await startSandbox(t)];
  const proxy = await startProxy(t, {
    workers: 2,
    providers: { sandbox: { issuer: sandbox.issuer } },
    credentials: {
      agent: {
        provider: 'sandbox',
        client_id: sandbox.client_id,
        client_secret: sandbox.client_secret,
        scopes: 'itwin-platform',
      },
    },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [{ path: '/things/**', inject: 'agent', upstream: origin.origin }],
    telemetry: { otlp: { endpoint: collector.url, ...otlp }, resource: { 'deployment.environment.name': 'test' } },
    ...rest,
  });
  return { collector, origin, proxy };
}

test('a request is a trace of what it waited for, linked to the fetch that it waited for', async (t) => {
  const { collector, proxy } = await traced(t);
  const traceparent = `00-${TRACE}-${PARENT}-01`;
  const answer = await fetch(`${proxy.origin}/things/1?sig=a-signature`, { headers: { traceparent, tracestate: 'foo=1' } });
  const upstreamSaw = await answer.json();
  const mine = () => collector.spans().filter(({ traceId }) => traceId === TRACE);
  await until(() => mine().some(({ name }) => name === 'GET /things/**'), 'the request is received');

  const { headers, reencodes, message } = collector.received[0];
  assert.equal(headers['content-type'], 'application/x-protobuf');
  assert.ok(reencodes, 'the official package knows every field');
  const resource = attributes(message.resourceSpans[0].resource.attributes);
  assert.equal(resource['service.name'], 'itwin-auth-proxy');
  assert.equal(resource['deployment.environment.name'], 'test');

  const named = (name) => mine().find((span) => span.name === name);
  const [whole, admit, call] = ['GET /things/**', 'admit', 'GET'].map(named);
  assert.deepEqual(
    [whole, admit, call].map(({ kind }) => kind),
    ['SPAN_KIND_SERVER', 'SPAN_KIND_INTERNAL', 'SPAN_KIND_CLIENT'],
  );
  assert.equal(whole.parentSpanId, PARENT);
  for (const child of [admit, call]) {
    assert.equal(child.parentSpanId, whole.spanId);
    assert.ok(BigInt(child.startTimeUnixNano) >= BigInt(whole.startTimeUnixNano));
    assert.ok(BigInt(child.endTimeUnixNano) <= BigInt(whole.endTimeUnixNano) + 1_000_000n);
  }
  assert.equal(whole.traceState, 'foo=1');
  assert.equal(whole.attributes['http.response.status_code'], '200');
  assert.equal(whole.attributes['url.path'], '/things/1');
  assert.equal(whole.attributes['itwin_auth_proxy.credential'], 'agent');
  assert.match(call.attributes['url.full'], /^http:\/\/.*\/things\/1$/);
  assert.equal(whole.status, undefined);

  await until(() => collector.spans().some(({ name }) => name === 'token fetch'), 'the fetch is received');
  const fetched = collector.spans().find(({ name }) => name === 'token fetch');
  assert.notEqual(fetched.traceId, TRACE, 'it is nobody’s child');
  assert.equal(fetched.parentSpanId, undefined);
  const wait = named('token wait');
  if (wait) assert.ok(fetched.links.some(({ spanId }) => spanId === wait.spanId), JSON.stringify(fetched.links));
  assert.doesNotMatch(JSON.stringify(collector.received), /a-signature|Bearer|eyJ/);
  assert.ok(upstreamSaw);
});

test('a caller decides whether its trace is kept, and a share decides about the others', async (t) => {
  const { collector, proxy } = await traced(t, { otlp: { traces: { sampling: '0' } } });
  const get = (flags) =>
    fetch(`${proxy.origin}/things/${flags}`, { headers: { traceparent: `00-${TRACE}-${PARENT}-${flags}` } });
  await Promise.all([get('00'), fetch(`${proxy.origin}/things/none`), get('01')]);
  await until(() => collector.spans().some(({ kind }) => kind === 'SPAN_KIND_SERVER'), 'the kept one is received');
  const kept = collector.spans().filter(({ kind }) => kind === 'SPAN_KIND_SERVER');
  assert.deepEqual(kept.map((span) => span.attributes['url.path']), ['/things/01']);
});

test('no request waits for a collector that fails, which is said and ends', async (t) => {
  const { collector, proxy } = await traced(t);
  collector.answers(503);
  await fetch(`${proxy.origin}/things/1`);
  await until(() => collector.received.some(({ status }) => status === 503), 'it was refused');
  const begun = performance.now();
  await fetch(`${proxy.origin}/things/2`);
  assert.ok(performance.now() - begun < 1000);
  const said = (what) => until(() => proxy.lines.some((line) => what.test(line)), `the log says ${what}`);
  await said(/telemetry cannot be sent.*503/);
  collector.answers(200);
  const paths = () => collector.spans().map((span) => span.attributes['url.path']);
  await until(() => ['/things/1', '/things/2'].every((path) => paths().includes(path)), 'both come');
  await said(/takes telemetry again/);
});
