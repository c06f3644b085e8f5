// What operators watch it with: a real Prometheus that scrapes it, its checks of names and rules, and
// the dashboard's queries.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { directory, startProxy, startSandbox, until } from './support/program.js';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const MADE = '../../deploy/observability';
const PREFIX = 'itwin_auth_proxy_';

async function world(t) {
  const sandbox = await startSandbox(t, ['--algorithm', 'es256']);
  const proxy = await startProxy(t, {
    providers: { sandbox: { issuer: sandbox.issuer } },
    credentials: {
      agent: {
        provider: 'sandbox',
        client_id: sandbox.client_id,
        client_secret: sandbox.client_secret,
        scopes: ['itwin-platform'],
      },
    },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [{ name: 'hub', inject: 'agent', upstream: sandbox.hub }],
  });
  for (let n = 0; n < 20; n += 1) await (await fetch(`${proxy.origin}/imodels`)).arrayBuffer();
  return proxy;
}

/** A Prometheus that scrapes `target` every second, protobuf and native histograms included. */
async function startPrometheus(t, target) {
  const home = directory(t);
  const file = path.join(home, 'prometheus.yml');
  writeFileSync(
    file,
    JSON.stringify({
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [here(`${MADE}/alerts.yaml`)],
      scrape_configs: [{ job_name: 'proxy', static_configs: [{ targets: [target] }] }],
    }),
  );
  const child = spawn(
    'prometheus',
    [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(home, 'data')}`,
      '--web.listen-address=127.0.0.1:0',
      '--enable-feature=native-histograms',
      '--log.format=json',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  t.after(async () => {
    child.kill();
    await once(child, 'exit');
  });
  let log = '';
  const address = await new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error(log)));
    child.stderr.on('data', (data) => {
      log += data;
      const found = /"address":"(127\.0\.0\.1:[1-9]\d*)"/.exec(log);
      if (found) resolve(found[1]);
    });
  });
  await until(async () => (await fetch(`http://${address}/-/ready`)).ok);
  const ask = async (what, parameters) => {
    const answer = await fetch(`http://${address}/api/v1/${what}?${new URLSearchParams(parameters)}`);
    const { status, data, error } = await answer.json();
    assert.equal(status, 'success', `${error}: ${JSON.stringify(parameters)}`);
    return data;
  };
  return { ask, query: async (query) => (await ask('query', { query })).result };
}

test('the names and helps of a scrape satisfy promtool', async (t) => {
  const proxy = await world(t);
  const accept = 'text/plain';
  const text = await (await fetch(`${proxy.admin}/metrics`, { headers: { accept } })).text();
  execFileSync('promtool', ['check', 'metrics'], { input: text });
  const page = readFileSync(here('../../docs/metrics.md'), 'utf8');
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => {
    const bare = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name;
    return [kind === 'counter' ? bare.replace(/_total$/, '') : bare, kind];
  });
  assert.ok(types.length > 30, `${types}`);
  for (const [name, kind] of types) {
    const shown = name === 'build_info' ? 'info' : kind;
    assert.match(page, new RegExp(`^\\| \`${name}\` \\| ${shown} \\|`, 'm'), `${name} in docs/metrics.md`);
  }
});

test('each alert fires when it should and is quiet before', () => {
  execFileSync('promtool', ['check', 'rules', here(`${MADE}/alerts.yaml`)]);
  execFileSync('promtool', ['test', 'rules', here('observability/alerts.yaml')]);
});

test('a real Prometheus scrapes native histograms, and answers all that dashboard and alerts ask', async (t) => {
  const proxy = await world(t);
  const { ask, query } = await startPrometheus(t, new URL(proxy.admin).host);
  const count = `histogram_count(${PREFIX}request_duration_seconds{route="hub"})`;
  await until(async () => (await query(count)).length > 0);
  assert.equal((await query(count))[0].value[1], '20');
  const quantile = `histogram_quantile(0.5, ${PREFIX}request_duration_seconds{route="hub"})`;
  const [{ value: [, median] }] = await query(quantile);
  assert.ok(median > 0 && median < 5, median);
  const [{ value: [, left] }] = await query(
    `histogram_quantile(0.5, ${PREFIX}token_remaining_served_seconds{credential="agent"})`,
  );
  assert.ok(left > 60, left);
  assert.equal((await query(`${PREFIX}provider_clock_offset_seconds`))[0].value[1], '0');

  const { targets } = { targets: (await ask('targets', {})).activeTargets };
  assert.deepEqual(targets.map(({ lastError }) => lastError), ['']);
  const { panels } = JSON.parse(readFileSync(here(`${MADE}/dashboard.json`), 'utf8'));
  const asked = panels.flatMap(({ targets: all = [] }) => all.map(({ expr }) => expr));
  assert.ok(asked.length > 40, `${asked.length}`);
  for (const expr of asked) {
    await query(expr.replaceAll('$__rate_interval', '5s').replaceAll(/\$(job|instance)/g, '.*'));
  }
  await until(async () => {
    const { groups } = await ask('rules', {});
    return groups[0].rules.every(({ health }) => health === 'ok');
  });
  const { alerts } = await ask('alerts', {});
  assert.deepEqual(alerts, [], 'nothing is wrong');
});
