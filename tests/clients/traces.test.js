// Traces, as a collector receives them that knows OTLP by its official package.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { attributes, startCollector } from './support/collector.js';
import { startOrigin } from './support/origin.js';
import { startProxy, startSandbox, until } from './support/program.js';

const TRACE = '12345678901234567890123456789012';
const PARENT = '1234567890123456';

async function traced(t, { otlp = {}, ...rest } = {}, started) {
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
  }, started);
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
  const found = async () => {
    const { findings } = await (await fetch(`${proxy.admin}/status`)).json();
    return findings.find(({ kind }) => kind === 'collector_unavailable');
  };
  const finding = await found();
  assert.match(finding.title, /^Traces cannot be sent to 127\.0\.0\.1:\d+$/);
  assert.match(finding.says, /503/);
  assert.ok(finding.remedy);
  collector.answers(200);
  const paths = () => collector.spans().map((span) => span.attributes['url.path']);
  await until(() => ['/things/1', '/things/2'].every((path) => paths().includes(path)), 'both come');
  await said(/takes telemetry again/);
  assert.equal(await found(), undefined);
});

test('each signal has the way that its own variables say, and what they say in vain is told', async (t) => {
  const [other, written] = [await startCollector(t), await startCollector(t)];
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: written.url,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${other.url}/v1/traces`,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-key=both',
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'x-key=tr%C3%A4ces',
    OTEL_EXPORTER_OTLP_METRICS_COMPRESSION: 'gzip',
    OTEL_METRIC_EXPORT_INTERVAL: '1000',
    OTEL_BSP_SCHEDULE_DELAY: '1',
  };
  const { proxy } = await traced(t, { telemetry: undefined }, { env });
  await fetch(`${proxy.origin}/things/1`);
  await until(() => other.spans().length > 0 && written.received.length > 0, 'both are sent');
  const [traces, metrics] = [other.received[0], written.received[0]];
  assert.deepEqual([...new Set(other.received.map(({ path }) => path))], ['/v1/traces']);
  assert.deepEqual([...new Set(written.received.map(({ path }) => path))], ['/v1/metrics']);
  assert.equal(Buffer.from(traces.headers['x-key'], 'latin1').toString(), 'träces');
  assert.equal(metrics.headers['x-key'], 'both');
  assert.deepEqual([traces, metrics].map(({ headers }) => headers['content-encoding']), [undefined, 'gzip']);
  assert.ok(proxy.lines.some((line) => line.includes('OTEL_BSP_SCHEDULE_DELAY has no effect')));
});

/** What a scrape says: families with kind and unit, and series by name and labels. */
async function scrape(proxy) {
  const accept = 'application/openmetrics-text; version=1.0.0';
  const text = await (await fetch(`${proxy.admin}/metrics`, { headers: { accept } })).text();
  const families = {};
  for (const [, name, kind] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) families[name] = { kind, unit: '' };
  for (const [, name, unit] of text.matchAll(/^# UNIT (\S+) (\S+)$/gm)) families[name].unit = { seconds: 's', bytes: 'By' }[unit];
  const series = {};
  for (const [, name, labels = '', value] of text.matchAll(/^([a-z_]+)(?:\{(.*)\})? (\S+)$/gm)) series[key(name, labels)] = Number(value);
  for (const name of Object.keys(families)) if (name.startsWith('process_')) delete families[name];
  return { families, series };
}

const key = (name, labels) => `${name}{${labels}}`;
const labelsOf = (list) => Object.entries(attributes(list)).map(([name, value]) => `${name}="${value}"`).join(',');

test('metrics are sent as a scrape has them, with the names, units and kinds that the page says', async (t) => {
  const { collector, proxy } = await traced(t, { otlp: { compression: 'gzip', traces: 'none', metrics: '1s' } });
  for (let n = 0; n < 7; n += 1) await (await fetch(`${proxy.origin}/things/${n}`)).arrayBuffer();
  await fetch(`${proxy.origin}/elsewhere`);
  const sent = () => collector.received.filter(({ path }) => path === '/v1/metrics');
  await until(async () => {
    const { series } = await scrape(proxy);
    return series['itwin_auth_proxy_requests_total{route="route-1",status="2xx"}'] === 7;
  }, 'all is counted');

  // what did not change from one scrape to the next was the same in between
  const before = await scrape(proxy);
  const earlier = sent().length;
  await until(() => sent().length > earlier + 1, 'metrics are sent');
  const { headers, reencodes, message } = sent().at(-1);
  const after = await scrape(proxy);

  assert.equal(headers['content-encoding'], 'gzip');
  assert.ok(reencodes, 'the official package knows every field');
  assert.equal(message.resourceMetrics.length, 1);
  const [{ resource, scopeMetrics }] = message.resourceMetrics;
  const who = attributes(resource.attributes);
  assert.equal(who['service.name'], 'itwin-auth-proxy');
  assert.equal(who['deployment.environment.name'], 'test');
  assert.match(who['service.version'], /^\d+\.\d+\.\d+/);
  assert.equal(scopeMetrics.length, 1);
  const { metrics } = scopeMetrics[0];
  assert.deepEqual(metrics.map(({ name }) => name).sort(), Object.keys(after.families).sort());

  const begun = new Set();
  const same = (series, value) => {
    if (before.series[series] === after.series[series]) assert.equal(value, after.series[series], series);
    return series;
  };
  let compared = [];
  for (const { name, unit = '', description, gauge, sum, exponentialHistogram } of metrics) {
    const { kind, unit: expected } = after.families[name];
    assert.equal(unit, expected, name);
    assert.ok(description, name);
    assert.equal({ counter: !!sum, gauge: !!gauge, info: !!gauge, histogram: !!exponentialHistogram }[kind], true, `${name}: ${kind}`);
    const { dataPoints, aggregationTemporality, isMonotonic } = sum ?? gauge ?? exponentialHistogram;
    if (!gauge) assert.equal(aggregationTemporality, 'AGGREGATION_TEMPORALITY_CUMULATIVE', name);
    if (sum) assert.equal(isMonotonic, true, name);
    for (const point of dataPoints) {
      const labels = labelsOf(point.attributes);
      if (!gauge) begun.add(point.startTimeUnixNano);
      if (exponentialHistogram) {
        const { positive, zeroCount = '0', count = '0' } = point;
        assert.equal(point.scale, 3, name);
        const counted = (positive?.bucketCounts ?? []).reduce((all, one) => all + Number(one), Number(zeroCount));
        assert.equal(counted, Number(count), name);
        compared.push(same(key(`${name}_count`, labels), Number(count)), same(key(`${name}_sum`, labels), point.sum));
      } else {
        const suffix = { counter: '_total', info: '_info', gauge: '' }[kind];
        compared.push(same(key(name + suffix, labels), Number(point.asInt ?? point.asDouble)));
      }
    }
  }
  const known = Object.keys(after.series).filter((one) => !/^process_|_bucket\{/.test(one));
  assert.deepEqual(compared.sort(), known.sort(), 'series by series');
  assert.equal(begun.size, 1, 'all began to count with the process');
  assert.equal(after.series['itwin_auth_proxy_request_duration_seconds_count{route="route-1"}'], 7);
});
