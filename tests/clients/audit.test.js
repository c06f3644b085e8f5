// The audit stream of the real program: kept over a kill, and what was done to it is told.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { command, directory, logLine, startProxy, startSandbox, until } from './support/program.js';

/** What runs, with its audit in `audit`; the token is asked for once a run. */
async function world(t, audit) {
  const home = directory(t);
  const sandbox = await startSandbox(t);
  const file = (name, text) => {
    writeFileSync(path.join(home, name), text);
    return path.join(home, name);
  };
  const key = file('key', 'a key of the auditor\n');
  const config = {
    providers: { sandbox: { issuer: sandbox.issuer } },
    credentials: {
      agent: {
        provider: 'sandbox',
        client_id: sandbox.client_id,
        client_secret: sandbox.client_secret,
        scopes: ['itwin-platform'],
      },
    },
    listeners: ['127.0.0.1:0'],
    routes: [{ inject: 'agent', upstream: sandbox.hub }],
    audit: { key_file: key, every: 'request', ...audit(home) },
  };
  return {
    config,
    file,
    key,
    log: path.join(home, 'audit.log'),
    /** A run with one call in it; `kill`: without its end. */
    async run({ kill = false, during = async () => {} } = {}) {
      const proxy = await startProxy(t, config);
      const answer = await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}`);
      assert.equal(answer.status, 200);
      await answer.arrayBuffer();
      await during(proxy);
      await until(async () => (await proxy.status()).audit.last_line >= 2);
      const how = await proxy.stop(kill ? 'SIGKILL' : 'SIGTERM');
      assert.deepEqual(how, kill ? { code: null, signal: 'SIGKILL' } : { code: 0, signal: null });
      return proxy.lines.filter((line) => logLine(line)?.kind === 'audit');
    },
  };
}

const verify = (...args) => command(['audit', 'verify', ...args]);

test('a file goes on over a kill, and tells what was done to it', async (t) => {
  const all = await world(t, (home) => ({ file: path.join(home, 'audit.log') }));
  await all.run({ kill: true });
  await all.run({
    async during(proxy) {
      for (let n = 0; n < 50; n += 1) {
        assert.equal((await fetch(`${proxy.admin}/drain`, { method: 'POST' })).status, 403);
      }
    },
  });
  const good = await verify('--key-file', all.key, all.log);
  assert.equal(good.code, 0, good.stdout);
  assert.match(good.stdout, /the program started; it had not stopped in order before: it was killed/);
  assert.match(good.stdout, /^authentic: \d+ lines, 1 to \d+, all signed with the key$/m);

  const text = readFileSync(all.log, 'utf8');
  const orders = text.split('\n').filter((line) => line.includes('"ordered"')).map((line) => JSON.parse(line));
  const told = orders.map(({ by, order, result, count }) => ({ by, order, result, count }));
  assert.deepEqual(told, [{ by: 'net:127.0.0.1', order: 'POST /drain', result: 'forbidden', count: 50 }]);

  const lines = text.trimEnd().split('\n');
  const cut = all.file('cut.log', `${lines.slice(0, -1).join('\n')}\n`);
  writeFileSync(`${cut}.head`, readFileSync(`${all.log}.head`));
  const missing = await verify('--key-file', all.key, cut);
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /cut: line \d+ is missing/);
  const changed = await verify('--key-file', all.key, all.file('changed.log', text.replace('"agent"', '"other"')));
  assert.equal(changed.code, 1);
  assert.match(changed.stdout, /changed\.log:\d+: changed: line \d+ is not what was written/);
  const strange = await verify('--key-file', all.file('other', 'another key\n'), all.log);
  assert.equal(strange.code, 1);
  const faults = strange.stdout.split('\n').filter((line) => line.includes('forged'));
  assert.equal(faults.length, 1, strange.stdout);
  assert.match(faults[0], /were not written with this key, but, they say, with [0-9a-f]{16}: give that one, too/);
});

test('of a stream each run is vouched for, one that is there twice is told, and one without an end is doubtful', async (t) => {
  const all = await world(t, () => ({ stream: 'stdout' }));
  const one = await all.run();
  const killed = await all.run({ kill: true });
  const three = await all.run();
  const check = (name, ...runs) => verify('--key-file', all.key, all.file(name, `${runs.flat().join('\n')}\n`));

  const good = await check('good', one, three);
  assert.equal(good.code, 0, good.stdout);
  assert.match(good.stdout, /^signed: \d+ lines of 2 runs, all with the key; runs of a stream are not linked/m);
  const twice = await check('twice', one, three, one);
  assert.equal(twice.code, 1);
  assert.match(twice.stdout, /repeated: run [0-9a-f]{16} has begun before: its lines are there twice/);
  const doubtful = await check('doubtful', one, killed, three);
  assert.equal(doubtful.code, 1);
  assert.match(doubtful.stdout, /doubtful: the run that begins here has no end/);
  const last = JSON.parse(killed.at(-1));
  const known = await verify('--key-file', all.key, '--expect', `${last.seq}:${last.hash}`, path.join(path.dirname(all.key), 'doubtful'));
  assert.equal(known.code, 0, known.stdout);
});
