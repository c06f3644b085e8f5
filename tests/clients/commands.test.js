// The commands, as a new user meets them.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { command, directory, logLine, start, startSandbox, until } from './support/program.js';

test('the environment alone: set five variables, run, call without a token', async (t) => {
  const sandbox = await startSandbox(t);
  const proxy = start(t, ['run'], {
    env: {
      ...sandbox.environment,
      ITWIN_BIND: '127.0.0.1:0',
      ITWIN_ADMIN_BIND: '127.0.0.1:0',
      ITWIN_LOG_FORMAT: 'json',
    },
  });
  const address = await proxy.line((line) => {
    const fields = logLine(line);
    return fields?.message === 'listening' ? fields.address : undefined;
  });
  const answer = await fetch(`http://${address}/imodels?iTwinId=${sandbox.itwin_id}&$top=2`);
  assert.equal(answer.status, 200);
  const body = await answer.json();
  assert.equal(body.iModels.length, 2);
  assert.ok(body._links.next.href.startsWith(`http://${address}/imodels?`), body._links.next.href);

  await until(() => proxy.lines.some((line) => logLine(line)?.kind === 'request'));
  const log = proxy.lines.join('\n');
  assert.equal(log.includes(sandbox.client_secret), false, 'the secret is in no line');
  assert.equal(/eyJ/.test(log), false, 'a token is in no line');
  assert.equal(log.includes(sandbox.itwin_id), false, 'a query value is in no line');
});

test('a wrong configuration: every problem at once, exit code 78, nothing started', async (t) => {
  const file = path.join(directory(t), 'wrong.yaml');
  writeFileSync(file, [
    'credentials:',
    '  agent: { client_idd: service-x, client_secret: a, client_secret_file: /nowhere, scopes: [openid] }',
    'listeners:',
    '  - bind: 0.0.0.0:0',
    'routes:',
    '  - inject: agend',
    '    upstream: https://api.example.com',
  ].join('\n'));
  for (const name of ['check', 'run']) {
    const { code, stderr } = await command([name, '--config', file]);
    assert.equal(code, 78, stderr);
    for (const part of ['client_idd', 'client_secret_file', 'agend', `${file}:2`]) {
      assert.ok(stderr.includes(part), `${part} is not named in\n${stderr}`);
    }
  }
});

test('check --live says what it reached, check --print shows no secret', async (t) => {
  const sandbox = await startSandbox(t);
  const env = { ...sandbox.environment, ITWIN_CLIENT_SECRET: sandbox.client_secret };
  const live = await command(['check', '--live'], { env });
  assert.equal(live.code, 0, live.stderr);
  const print = await command(['check', '--print'], { env });
  assert.equal(print.code, 0, print.stderr);
  assert.ok(print.stdout.includes(sandbox.issuer));
  assert.equal(print.stdout.includes(sandbox.client_secret), false);

  await sandbox.fault({ idp_door: 'refuse' });
  assert.equal((await command(['check', '--live'], { env })).code, 69);
});

test('explain says where a call would go and with what', async (t) => {
  const sandbox = await startSandbox(t);
  const { code, stdout, stderr } = await command(
    ['explain', 'GET', `${sandbox.hub}/imodels/1?x=y`],
    { env: sandbox.environment },
  );
  assert.equal(code, 0, stderr);
  assert.ok(stdout.includes(new URL(sandbox.hub).host), stdout);
  assert.ok(stdout.includes('itwin-platform'), stdout);
});

test('token prints one for scripts', async (t) => {
  const sandbox = await startSandbox(t);
  const { code, stdout, stderr } = await command(['token'], { env: sandbox.environment });
  assert.equal(code, 0, stderr);
  const answer = await fetch(`${sandbox.hub}/imodels?iTwinId=${sandbox.itwin_id}`, {
    headers: { authorization: `Bearer ${stdout.trim()}` },
  });
  assert.equal(answer.status, 200);
});

test('what init writes, check accepts', async (t) => {
  const home = directory(t);
  const { code, stdout, stderr } = await command(['init']);
  assert.equal(code, 0, stderr);
  const file = path.join(home, 'itwin.yaml');
  // A new user fills in the client's identifier and puts the secret where the file says.
  const secret = path.join(home, 'secret');
  writeFileSync(secret, 'x');
  const half = stdout.replace(/^(\s*client_secret_file:).*$/m, `$1 ${secret}`);
  writeFileSync(file, half);
  const unfinished = await command(['check', '--config', file]);
  assert.equal(unfinished.code, 78);
  assert.match(unfinished.stderr, /'service-your-client-id' is what init wrote to be filled in/);
  writeFileSync(file, half.replace('service-your-client-id', 'service-a1b2c3'));
  const checked = await command(['check', '--config', file]);
  assert.equal(checked.code, 0, checked.stderr);
});

test('completions and the schema come out whole', async () => {
  const bash = await command(['completions', 'bash']);
  assert.equal(bash.code, 0, bash.stderr);
  assert.ok(bash.stdout.includes('itwin-auth-proxy'));
  const schema = await command(['schema']);
  assert.equal(JSON.parse(schema.stdout).type, 'object');
});

test('the demo tells its story and everything in it is so', async () => {
  const { code, stdout, stderr } = await command(['demo', '--once'], { timeout: 60_000 });
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /of which it knew none/);
});

test('the demo stays up afterwards, and the curl lines that it prints work', async (t) => {
  const demo = start(t, ['demo']);
  const line = await demo.line((text) => /^\s*(curl .*)$/.exec(text)?.[1], 60_000);
  const { execFileSync } = await import('node:child_process');
  const answer = execFileSync('bash', ['-c', `${line} -sS --noproxy '*' -f`], { encoding: 'utf8' });
  assert.ok(answer.length > 0);
});
