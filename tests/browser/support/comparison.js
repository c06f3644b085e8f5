// A site whose pages sign in by themselves, with Bentley's own client for browsers.
import http from 'node:http';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

import { listen } from './server.js';

const HOME = new URL('comparison/', import.meta.url);
let bundled;

/** The page's script, with the client in it; made once. */
function bundle() {
  bundled ??= build({
    entryPoints: [fileURLToPath(new URL('page.js', HOME))],
    bundle: true, write: false, format: 'esm', target: 'es2022', logLevel: 'error',
  }).then(({ outputFiles: [file] }) => file.text);
  return bundled;
}

/** Serves the page below any path; `settings` is what it asks for. Its origin. */
export async function startComparison(t, settings) {
  const script = await bundle();
  const page = await readFile(new URL('index.html', HOME));
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://page.example');
    const [type, body] = pathname.endsWith('.js')
      ? ['text/javascript', script]
      : pathname.endsWith('.json')
        ? ['application/json', JSON.stringify(settings())]
        : ['text/html', page];
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' });
    response.end(body);
  });
  await listen(t, server);
  return `http://localhost:${server.address().port}`;
}
