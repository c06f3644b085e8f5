// What stands behind the proxy: an API that wants a good token, and a front end that must never see one.
import http from 'node:http';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

import { WebSocketServer } from 'ws';

import { check } from './provider.js';
import { listen } from './server.js';

const FRONT = new URL('front/', import.meta.url);
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css' };

/**
 * The API, as `{ origin, calls, open }`; with `cors`, for pages of other origins too:
 *   /…/events   an event stream of a tick every 100 ms
 *   /…/socket   a WebSocket that says back what it hears
 *   otherwise   JSON: who calls, what arrived
 */
export async function startApi(t, { cors = false } = {}) {
  const api = { calls: [], open: new Set() };
  const who = async (request) => {
    const claims = await check(/^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1]);
    api.calls.push({
      method: request.method, url: request.url, headers: request.headers, who: claims?.sub, scope: claims?.scope,
      token: request.headers.authorization?.slice('Bearer '.length),
    });
    return claims;
  };
  const server = http.createServer(async (request, response) => {
    request.resume();
    if (cors) {
      response.setHeader('access-control-allow-origin', '*');
      response.setHeader('access-control-allow-headers', 'authorization');
      if (request.method === 'OPTIONS') return response.end();
    }
    const claims = await who(request);
    if (!claims) return answer(response, 401, { error: { code: 'Unauthorized', message: 'no good token' } });
    if (request.url.endsWith('/events')) {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      const ticking = setInterval(() => response.write('data: tick\n\n'), 100);
      api.open.add(response);
      response.once('close', () => {
        clearInterval(ticking);
        api.open.delete(response);
      });
      return undefined;
    }
    return answer(response, 200, { who: claims.sub, method: request.method, path: request.url });
  });
  const sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', async (request, socket, head) => {
    if (!(await who(request))) return socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n');
    return sockets.handleUpgrade(request, socket, head, (connection) => {
      api.open.add(connection);
      connection.on('message', (data) => connection.send(data.toString()));
      connection.once('close', () => api.open.delete(connection));
      connection.on('error', () => {});
    });
  });
  await listen(t, server);
  api.origin = `http://127.0.0.1:${server.address().port}`;
  return api;
}

/** The front end's files, whatever comes before the last part of the path; what is not there is its page. */
export async function startFront(t) {
  const front = { calls: [] };
  const server = http.createServer(async (request, response) => {
    request.resume();
    front.calls.push({ method: request.method, url: request.url, headers: request.headers });
    const { pathname } = new URL(request.url, 'http://front.example');
    if (pathname.endsWith('/cookies')) {
      response.setHeader('set-cookie', [
        'theme=dark; Path=/', '__Host-itwin-auth=planted; Path=/; Secure', '__Host-itwin-auth=; Path=/; Secure; Max-Age=0',
      ]);
      return answer(response, 200, { cookie: request.headers.cookie ?? '' });
    }
    if (pathname.endsWith('/back')) {
      // what some servers do with their caller's headers
      return answer(response, 200, { headers: request.headers });
    }
    const name = TYPES[path.extname(pathname)] ? path.basename(pathname) : 'index.html';
    try {
      const body = await readFile(new URL(name, FRONT));
      response.writeHead(200, { 'content-type': TYPES[path.extname(name)] });
      return response.end(body);
    } catch {
      return answer(response, 404, { error: { code: 'NotFound' } });
    }
  });
  await listen(t, server);
  front.origin = `http://127.0.0.1:${server.address().port}`;
  return front;
}

function answer(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
}
