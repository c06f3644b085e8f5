// WebSocket through the proxy: the handshake gets the token, the frames are the caller's.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';

import WebSocket, { WebSocketServer } from 'ws';

import { bearer, inject, SERVICE } from './support/config.js';
import { startProxy } from './support/program.js';
import { startProvider } from './support/provider.js';

async function world(t) {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const upgrades = [];
  const server = http.createServer((request, response) => {
    upgrades.push(request);
    response.end('not a socket');
  });
  const sockets = new WebSocketServer({ server, handleProtocols: (offered) => [...offered].at(-1) });
  sockets.on('connection', (socket, request) => {
    upgrades.push(request);
    socket.on('message', (data, binary) => {
      if (!binary && data.toString() === 'close') socket.close(4001, 'as you wish');
      else socket.send(data, { binary });
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${server.address().port}`;
  const proxy = await startProxy(t, inject({ provider, origin, credential: SERVICE.credential }));
  return { proxy, upgrades };
}

async function connect(t, proxy, ...args) {
  const socket = new WebSocket(proxy.origin.replace('http', 'ws') + '/events?x=1', ...args);
  t.after(() => socket.terminate());
  await once(socket, 'open');
  return socket;
}

test('text and binary frames come back as they were sent', async (t) => {
  const { proxy, upgrades } = await world(t);
  const socket = await connect(t, proxy, ['v1', 'v2']);
  assert.equal(socket.protocol, 'v2');
  for (const message of ['hello', Buffer.alloc(200_000, 7), '']) {
    socket.send(message);
    const [data, binary] = await once(socket, 'message');
    assert.equal(binary, typeof message !== 'string');
    assert.deepEqual(data, Buffer.from(message));
  }
  assert.ok(bearer(upgrades[0].headers.authorization));
  assert.equal(upgrades[0].url, '/events?x=1');
});

test('the close code and reason of the service reach the caller', async (t) => {
  const { proxy } = await world(t);
  const socket = await connect(t, proxy);
  socket.send('close');
  const [code, reason] = await once(socket, 'close');
  assert.equal(code, 4001);
  assert.equal(reason.toString(), 'as you wish');
});

test('two hundred sockets at once each get their own answers', async (t) => {
  const { proxy } = await world(t);
  const open = await Promise.all(Array.from({ length: 200 }, () => connect(t, proxy)));
  const answers = await Promise.all(
    open.map(async (socket, n) => {
      socket.send(`I am ${n}`);
      const [data] = await once(socket, 'message');
      return data.toString();
    }),
  );
  assert.deepEqual(answers, open.map((_, n) => `I am ${n}`));
});

test('another protocol than websocket is not switched to', async (t) => {
  const { proxy, upgrades } = await world(t);
  const request = http.get(`${proxy.origin}/events`, {
    headers: { connection: 'upgrade, http2-settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' },
  });
  const [response] = await once(request, 'response');
  response.resume();
  assert.notEqual(response.statusCode, 101);
  assert.equal(upgrades.every((seen) => seen.headers.upgrade === undefined), true);
});
