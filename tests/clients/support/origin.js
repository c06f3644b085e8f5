// An upstream that remembers what arrived and says it back, over HTTP/1.1 or HTTP/2 without TLS.
//
//   /bytes/N   N bytes, streamed
//   otherwise  200 and JSON: method, path, authorization, length and SHA-256 of the body
import { createHash } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import { pipeline } from 'node:stream/promises';

import { bytes } from './bytes.js';

/**
 * `answer(request, response)` may take a request over by returning true. `accept(token)` says whether
 * a bearer token is good; others get a 401.
 */
export async function startOrigin(t, { protocol = 'http1', answer, accept } = {}) {
  const server = protocol === 'http2' ? http2.createServer() : http.createServer();
  const requests = [];
  const sockets = new Set();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', async (request, response) => {
    const { authorization } = request.headers;
    const seen = {
      method: request.method,
      path: request.url,
      headers: { ...request.headers },
      authorization,
      httpVersion: request.httpVersion,
    };
    requests.push(seen);
    response.on('error', () => {});
    try {
      if (accept && !accept(authorization?.replace(/^Bearer /, ''))) {
        request.resume();
        return json(response, 401, { error: { code: 'Unauthorized', message: 'refused' } });
      }
      if (await answer?.(request, response)) return undefined;
      const size = /^\/bytes\/(\d+)/.exec(request.url)?.[1];
      if (size) {
        request.resume();
        response.writeHead(200, {
          'content-type': 'application/octet-stream',
          'content-length': size,
        });
        await pipeline(bytes(Number(size)), response);
        return undefined;
      }
      const digest = createHash('sha256');
      seen.length = 0;
      for await (const chunk of request) {
        digest.update(chunk);
        seen.length += chunk.length;
      }
      seen.sha256 = digest.digest('hex');
      return json(response, 200, seen);
    } catch (error) {
      seen.error = error.message;
      response.destroy?.();
      return undefined;
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return { server, requests, origin: `http://127.0.0.1:${server.address().port}` };
}

function json(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}
