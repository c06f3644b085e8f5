// A person at a desk: sign in by a browser, by hand, on another device; use it; sign out.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';

import { decodeJwt } from 'jose';

import { Person, startPeoplesProvider } from './support/person.js';
import { PROGRAM, command, directory, startProxy, until } from './support/program.js';

/** A provider, a configuration, and a home without a keyring. */
async function desk(t, options = {}) {
  const port = await freePort();
  const redirect = `http://127.0.0.1:${port}/signin-callback`;
  const provider = await startPeoplesProvider(t, { redirects: [redirect], ...options });
  const home = directory(t);
  const config = {
    providers: { idp: { issuer: provider.issuer } },
    credentials: {
      me: {
        provider: 'idp',
        grant: 'refresh_token',
        client_id: 'native-desk',
        redirect: { ports: [port], path: '/signin-callback' },
        scopes: ['openid', 'profile', 'email', 'offline_access', 'itwin-platform', 'imodels:read'],
      },
    },
    routes: [{ inject: 'me', upstream: 'http://127.0.0.1:9' }],
    ...options.config,
  };
  const file = path.join(home, 'desk.yaml');
  writeFileSync(file, JSON.stringify(config));
  const env = {
    XDG_STATE_HOME: path.join(home, 'state'),
    // no keyring answers there
    DBUS_SESSION_BUS_ADDRESS: `unix:path=${home}/no-bus`,
    BROWSER: noBrowser(home),
  };
  const state = path.join(home, 'state', 'itwin-auth-proxy');
  const login = (...args) => begin(['login', '--config', file, ...args], env);
  const run = (...args) => command([...args, '--config', file], { env });
  return { provider, config, file, env, home, state, port, redirect, login, run };
}

/** A browser that writes down what it is to open. */
function noBrowser(home) {
  const script = path.join(home, 'browser');
  writeFileSync(script, `#!/bin/sh\nprintf '%s' "$1" > "${home}/opened.part" && mv "${home}/opened.part" "${home}/opened"\n`);
  chmodSync(script, 0o755);
  return script;
}

/** What the browser was told to open. */
async function opened(home) {
  const file = path.join(home, 'opened');
  await until(() => readdirSync(home).includes('opened'));
  const address = readFileSync(file, 'utf8');
  rmSync(file);
  return address;
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A command that goes on while the test does something; it is ended with the test. */
function begin(args, env) {
  const running = {};
  running.stdout = '';
  running.stderr = '';
  const child = spawn(PROGRAM, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdout.on('data', (data) => (running.stdout += data));
  child.stderr.on('data', (data) => (running.stderr += data));
  running.child = child;
  running.ended = new Promise((resolve) => child.once('close', (code) => resolve(code)));
  running.says = async (pattern) => {
    await until(() => pattern.test(running.stderr) || child.exitCode !== null);
    assert.match(running.stderr, pattern);
    return pattern.exec(running.stderr);
  };
  return running;
}


async function signIn(at, person = new Person(), ...args) {
  const login = at.login(...args);
  const page = await person.signIn(await opened(at.home));
  const code = await login.ended;
  assert.equal(code, 0, login.stderr);
  return { login, page };
}

test('a person signs in with the browser, and it is kept, used, renewed and ended', async (t) => {
  const at = await desk(t);
  const { login, page } = await signIn(at);
  assert.equal(page.status, 200);
  assert.match(page.page, /You are signed in[\s\S]*close this page/);
  assert.match(page.headers.get('content-security-policy'), /^default-src 'none'/);
  assert.equal(login.stdout, '');
  assert.match(login.stderr, /Signed in as ann Example \(ann@example.com\)/);
  assert.match(login.stderr, /itwin-platform/);
  assert.match(login.stderr, /sealed/);
  const first = at.provider.newest;
  for (const file of readdirSync(at.state)) {
    assert.equal(readFileSync(path.join(at.state, file), 'latin1').includes(first), false, `${file} shows the token`);
  }

  const token = await at.run('token');
  assert.equal(token.code, 0, token.stderr);
  assert.equal(decodeJwt(token.stdout.trim()).sub, 'ann');
  assert.match(token.stderr, /^valid for (59m|1h)/m);
  assert.notEqual(at.provider.newest, first, 'rotated');
  const fewer = await at.run('token', 'me', '--scope', 'imodels:read', '--header');
  assert.match(fewer.stdout, /^Bearer /);
  assert.equal(decodeJwt(fewer.stdout.slice(7).trim()).scope, 'imodels:read');

  const out = await at.run('logout');
  assert.equal(out.code, 0, out.stderr);
  assert.match(out.stderr, /here and at the provider/);
  assert.ok(at.provider.paths.includes('/token/revocation'));
  assert.deepEqual(readdirSync(at.state).filter((file) => /sealed|json/.test(file)), []);
  const after = await at.run('token');
  assert.equal(after.code, 69);
  assert.match(after.stderr, /itwin-auth-proxy login --credential me/);
  const again = await at.run('logout', '--all');
  assert.equal(again.code, 0);
  assert.match(again.stderr, /nobody is signed in/);
});

test('a callback that is not of this sign-in gets a page, and the right one still counts', async (t) => {
  const at = await desk(t);
  const login = at.login();
  const url = await opened(at.home);
  const base = at.redirect;
  for (const [method, address, status] of [
    ['GET', `${base}?code=x&state=wrong`, 400],
    ['GET', `${base}?code=x`, 400],
    ['POST', `${base}?code=x&state=wrong`, 405],
    ['GET', `http://127.0.0.1:${at.port}/favicon.ico`, 404],
  ]) {
    const answer = await fetch(address, { method });
    assert.equal(answer.status, status, address);
    assert.match(await answer.text(), /<html lang="en">/);
  }
  await assert.rejects(fetch(base.replace('127.0.0.1', '127.0.0.2')), 'on no other address');
  const person = new Person();
  await person.signIn(url);
  assert.equal(await login.ended, 0, login.stderr);
  await assert.rejects(fetch(base), 'nobody listens any more');
});

test('who declines, or waits too long, or presses Ctrl-C, has changed nothing', async (t) => {
  const at = await desk(t);
  const declined = at.login();
  const page = await new Person().signIn(await opened(at.home), { says: 'cancel' });
  assert.equal(await declined.ended, 1, declined.stderr);
  assert.match(declined.stderr, /access_denied/);
  assert.match(page.page, /not signed in[\s\S]*declined/);

  const late = at.login('--timeout', '1s');
  assert.equal(await late.ended, 69, late.stderr);
  assert.match(late.stderr, /no sign-in within 1s/);

  const cancelled = at.login();
  await cancelled.says(/Waiting for the browser/);
  cancelled.child.kill('SIGINT');
  assert.equal(await cancelled.ended, 130, cancelled.stderr);
  assert.match(cancelled.stderr, /Cancelled: nothing was changed/);
  assert.deepEqual(readdirSync(at.state), []);
});

test('without a browser here, the last address of another one is pasted', async (t) => {
  const at = await desk(t);
  const holder = net.createServer().listen(at.port, '127.0.0.1');
  t.after(() => holder.close());
  const taken = at.login();
  assert.equal(await taken.ended, 69);
  assert.match(taken.stderr, new RegExp(`port ${at.port}[\\s\\S]*--no-browser`));

  const login = at.login('--no-browser');
  const [, url] = await login.says(/open\n\n\s+(\S+)\n/);
  const { address } = await new Person().signIn(url, { stopAt: at.redirect });
  login.child.stdin.write(`not that\n${at.provider.issuer}/elsewhere?x=y\n${address}\n`);
  assert.equal(await login.ended, 0, login.stderr);
  assert.match(login.stderr, /neither an address nor a code/);
  assert.match(login.stderr, /not the last address/);
  assert.match(login.stderr, /Signed in as ann/);
});

test('on another device, by a code', async (t) => {
  const at = await desk(t);
  const login = at.login('--device');
  const [, url, code] = await login.says(/open on any device\n\n\s+(\S+)\n\nand enter the code\n\n\s+(\S+)\n/);
  assert.match(login.stderr, /█/);
  const person = new Person('bob');
  person.code = code;
  await person.signIn(url);
  assert.equal(await login.ended, 0, login.stderr);
  assert.match(login.stderr, /Signed in as bob/);

  const declined = at.login('--device');
  const [, again, other] = await declined.says(/open on any device\n\n\s+(\S+)\n\nand enter the code\n\n\s+(\S+)\n/);
  const refuser = new Person('bob');
  refuser.code = other;
  await refuser.signIn(again, { says: 'cancel' });
  assert.equal(await declined.ended, 1, declined.stderr);
  assert.match(declined.stderr, /declined/);
});

test('a running proxy serves the person, says who must do what, and goes on after a new login', async (t) => {
  const upstream = http.createServer((request, response) => response.end(request.headers.authorization ?? 'none'));
  await new Promise((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  t.after(() => upstream.close());
  const at = await desk(t, {
    lifetime: 4,
    config: {
      listeners: ['127.0.0.1:0'],
      routes: [{ inject: 'me', upstream: `http://127.0.0.1:${upstream.address().port}` }],
    },
  });
  const proxy = await startProxy(t, at.config, { env: at.env, ready: false });
  const before = await fetch(`${proxy.origin}/x`);
  assert.equal(before.status, 401);
  assert.match(await before.text(), /SignInRequired[\s\S]*itwin-auth-proxy login --credential me/);

  const call = async () => {
    const answer = await fetch(`${proxy.origin}/x`);
    return { status: answer.status, text: await answer.text() };
  };
  await signIn(at);
  await until(async () => (await call()).status === 200, { every: 200 });
  assert.equal(decodeJwt((await call()).text.slice(7)).sub, 'ann');

  await at.provider.revokeEverything();
  await until(async () => (await call()).status === 401, { every: 200, deadline: 15_000 });
  assert.match((await call()).text, /has ended[\s\S]*login --credential me/);
  await signIn(at, new Person('bob'));
  await until(async () => (await call()).status === 200, { every: 200, deadline: 15_000 });
  assert.equal(decodeJwt((await call()).text.slice(7)).sub, 'bob');
});

test('processes that renew at the same moment take turns, and no token is used twice', async (t) => {
  const at = await desk(t);
  await signIn(at);
  // of five calls of @itwin/node-cli-authorization 1.0.1 one succeeds, and its sign-in is dead then
  const all = await Promise.all(Array.from({ length: 8 }, () => at.run('token')));
  for (const one of all) assert.equal(one.code, 0, one.stderr);
  assert.equal(at.provider.refreshed('success').length, 8);
  assert.equal(at.provider.refreshed('error').length, 0);
  const sent = at.provider.refreshed('success').map((one) => one.token);
  assert.equal(new Set(sent).size, 8, 'each sent the newest');
});

test('a provider that is down does not keep anybody from signing out here', async (t) => {
  const at = await desk(t);
  await signIn(at);
  await at.provider.down();
  const out = await at.run('logout');
  assert.equal(out.code, 69);
  assert.match(out.stderr, /gone from this machine, but the provider was not told/);
  assert.deepEqual(readdirSync(at.state).filter((file) => /sealed|json/.test(file)), []);
});

test('the environment alone: a client for desks and no secret', async (t) => {
  const at = await desk(t);
  const env = {
    ...at.env,
    ITWIN_CLIENT_ID: 'native-desk',
    ITWIN_ISSUER: at.provider.issuer,
    ITWIN_UPSTREAM: 'http://127.0.0.1:9',
    ITWIN_SCOPES: 'openid offline_access itwin-platform',
  };
  const login = begin(['login', '--redirect', at.redirect], env);
  await new Person().signIn(await opened(at.home));
  assert.equal(await login.ended, 0, login.stderr);
  const token = await command(['token'], { env });
  assert.equal(decodeJwt(token.stdout.trim()).sub, 'ann');
});

/** A real keyring on a bus of its own, unlocked as a login would; the bus's address. */
async function keyring(t, home) {
  const script = 'printf secret | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; echo "$DBUS_SESSION_BUS_ADDRESS"; exec cat';
  const session = spawn('dbus-run-session', ['--', 'sh', '-c', script], {
    env: { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: home, XDG_DATA_HOME: path.join(home, 'data') },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const gone = new Promise((resolve) => session.once('close', resolve));
  t.after(async () => {
    session.stdin.end();
    await gone;
  });
  return new Promise((resolve, reject) => {
    session.once('error', reject);
    session.stdout.once('data', (data) => resolve(String(data).trim()));
  });
}

test('a real keyring keeps it: renewed there, gone with the sign-out, and a sealed file takes over', async (t) => {
  const at = await desk(t);
  at.env.DBUS_SESSION_BUS_ADDRESS = await keyring(t, at.home);
  const { login } = await signIn(at);
  assert.match(login.stderr, /kept in  the system's keyring/);
  const kinds = () => readdirSync(at.state).filter((file) => !file.endsWith('.lock')).map((file) => path.extname(file));
  assert.deepEqual(kinds(), ['.json'], 'nothing sealed');
  for (let n = 0; n < 2; n += 1) {
    const token = await at.run('token');
    assert.equal(token.code, 0, token.stderr);
  }
  assert.equal(at.provider.refreshed('success').length, 2);

  const upstream = http.createServer((request, response) => response.end(request.headers.authorization ?? 'none'));
  await new Promise((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  t.after(() => upstream.close());
  const config = {
    ...at.config,
    listeners: ['127.0.0.1:0'],
    routes: [{ inject: 'me', upstream: `http://127.0.0.1:${upstream.address().port}` }],
  };
  const proxy = await startProxy(t, config, { env: at.env });
  const answer = await fetch(`${proxy.origin}/x`);
  assert.equal(answer.status, 200, 'confined, it reaches the keyring all the same');
  await proxy.line((line) => line.includes('confined:') || undefined);

  const bus = at.env.DBUS_SESSION_BUS_ADDRESS;
  at.env.DBUS_SESSION_BUS_ADDRESS = `unix:path=${at.home}/no-bus`;
  const without = await at.run('token');
  assert.equal(without.code, 69);
  assert.match(without.stderr, /there is no keyring/);
  at.env.DBUS_SESSION_BUS_ADDRESS = bus;

  await signIn(at, new Person(), '--keep', 'file');
  assert.ok(kinds().includes('.sealed'));
  assert.equal((await at.run('token')).code, 0);
  assert.equal((await at.run('logout')).code, 0);
  assert.deepEqual(kinds().filter((kind) => kind !== ''), []);
});
