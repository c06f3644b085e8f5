// A provider that is nothing but its metadata and its keys; tokens are signed elsewhere.
import http from 'node:http';

/** Set `jwks` once the address is known. */
export async function startIssuer(t) {
  const state = { jwks: { keys: [] }, fetches: 0 };
  const server = http.createServer((request, response) => {
    const say = (value) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
    if (request.url === '/keys') {
      state.fetches += 1;
      return say(state.jwks);
    }
    return say({ issuer: state.issuer, token_endpoint: `${state.issuer}/token`, jwks_uri: `${state.issuer}/keys` });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  state.issuer = `http://127.0.0.1:${server.address().port}`;
  return state;
}
