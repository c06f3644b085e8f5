// A collector that decodes what it is sent with the official package (`collector.py`).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { until } from './program.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PACKAGES = fileURLToPath(new URL('../python/site-packages', import.meta.url));

/** `received` are all requests; `spans()` all spans of those that were taken, their attributes as an object. */
export async function startCollector(t) {
  const child = spawn('python3', [`${HERE}collector.py`], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, PYTHONPATH: process.env.OTLP_PACKAGES ?? PACKAGES },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, 'exit');
  });
  const received = [];
  let port;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const value = JSON.parse(line);
    if (value.port) ({ port } = value);
    else received.push(value);
  });
  await until(() => port, 'the collector listens');
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    answers: (status) => child.stdin.write(`${status}\n`),
    spans: () => received.filter(({ status, path }) => status === 200 && path === '/v1/traces').flatMap(spans),
  };
}

function spans({ message }) {
  return message.resourceSpans.flatMap(({ scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        ...span,
        traceId: hex(span.traceId),
        spanId: hex(span.spanId),
        parentSpanId: span.parentSpanId && hex(span.parentSpanId),
        links: (span.links ?? []).map((link) => ({ traceId: hex(link.traceId), spanId: hex(link.spanId) })),
        attributes: attributes(span.attributes),
      })),
    ),
  );
}

/** Attributes by name. */
export function attributes(list = []) {
  return Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]]));
}

const hex = (base64) => Buffer.from(base64, 'base64').toString('hex');
