// gRPC through the proxy, HTTP/2 on both sides: unary and streaming calls, metadata, trailers.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import grpc from '@grpc/grpc-js';

import { bearer, inject, SERVICE } from './support/config.js';
import { startProxy } from './support/program.js';
import { startProvider } from './support/provider.js';

const same = (value) => value;
const method = (name, requestStream, responseStream) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const SERVICE_DEFINITION = {
  Unary: method('Unary', false, false),
  Chat: method('Chat', true, true),
  Refuse: method('Refuse', false, false),
};

async function startEcho(t) {
  const seen = [];
  const server = new grpc.Server();
  const ending = (metadata) => {
    const trailers = new grpc.Metadata();
    trailers.set('x-count', String(seen.length));
    trailers.set('x-raw-bin', Buffer.from([0, 255, 1]));
    for (const value of metadata.get('x-ask')) trailers.add('x-answer', value);
    return trailers;
  };
  server.addService(SERVICE_DEFINITION, {
    Unary(call, done) {
      seen.push(call.metadata);
      done(null, call.request, ending(call.metadata));
    },
    Chat(call) {
      seen.push(call.metadata);
      call.on('data', (message) => call.write(Buffer.from(`re: ${message}`)));
      call.on('end', () => call.end(ending(call.metadata)));
    },
    Refuse(call, done) {
      seen.push(call.metadata);
      done({ code: grpc.status.FAILED_PRECONDITION, details: 'not today: ü', metadata: ending(call.metadata) });
    },
  });
  const port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  t.after(() => server.forceShutdown());
  return { origin: `http://127.0.0.1:${port}`, seen };
}

async function world(t) {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const echo = await startEcho(t);
  const proxy = await startProxy(
    t,
    inject({
      provider,
      origin: { url: echo.origin, protocol: 'http2' },
      credential: SERVICE.credential,
    }),
  );
  const Client = grpc.makeGenericClientConstructor(SERVICE_DEFINITION, 'test.Echo');
  const client = new Client(new URL(proxy.origin).host, grpc.credentials.createInsecure());
  t.after(() => client.close());
  return { client, echo, proxy };
}

test('a unary call carries the token up and its trailers down', async (t) => {
  const { client, echo } = await world(t);
  const metadata = new grpc.Metadata();
  metadata.set('x-ask', 'hello');
  let trailers;
  const message = Buffer.alloc(300_000, 'gRPC');
  const answer = await new Promise((resolve, reject) => {
    const call = client.Unary(message, metadata, (error, value) => (error ? reject(error) : resolve(value)));
    call.on('status', (status) => { trailers = status.metadata; });
  });
  assert.ok(answer.equals(message));
  assert.ok(bearer(echo.seen[0].get('authorization')[0]));
  await new Promise(setImmediate);
  assert.deepEqual(trailers.get('x-answer'), ['hello']);
  assert.deepEqual(trailers.get('x-raw-bin'), [Buffer.from([0, 255, 1])]);
});

test('messages go both ways while the call is open, none held back', async (t) => {
  const { client } = await world(t);
  const call = client.Chat(new grpc.Metadata());
  const status = new Promise((resolve) => call.once('status', resolve));
  for (let n = 0; n < 50; n += 1) {
    call.write(Buffer.from(String(n)));
    const answer = await new Promise((resolve, reject) => {
      call.once('data', resolve);
      call.once('error', reject);
    });
    assert.equal(answer.toString(), `re: ${n}`);
  }
  call.end();
  call.resume();
  assert.equal((await status).code, grpc.status.OK);
});

test('an error of the service stays the service\'s, in trailers alone', async (t) => {
  const { client } = await world(t);
  await assert.rejects(
    new Promise((resolve, reject) => {
      client.Refuse(Buffer.from('x'), new grpc.Metadata(), (error, value) => (error ? reject(error) : resolve(value)));
    }),
    (error) => error.code === grpc.status.FAILED_PRECONDITION && error.details === 'not today: ü',
  );
});

test('a deadline of the caller ends the call at the service too', async (t) => {
  const { client, echo } = await world(t);
  const call = client.Chat(new grpc.Metadata(), { deadline: Date.now() + 300 });
  call.write(Buffer.from('x'));
  await assert.rejects(
    new Promise((_, reject) => { call.on('error', reject); call.resume(); }),
    (error) => error.code === grpc.status.DEADLINE_EXCEEDED,
  );
  assert.ok(echo.seen[0].get('grpc-timeout').length <= 1);
});
