// Bentley's own clients with a dummy token, through the proxy, against the sandbox.
import 'reflect-metadata';

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import authoring from '@itwin/imodels-client-authoring';
import management from '@itwin/imodels-client-management';
import itwins from '@itwin/itwins-client';
import azure from '@itwin/object-storage-azure';

import { directory, startProxy, startSandbox } from './support/program.js';

const DUMMY = { authorization: async () => ({ scheme: 'Bearer', token: 'dummy' }) };
/** The ways to have no token: what a client sends then. */
const WITHOUT = {
  'a dummy token': { ...DUMMY },
  'an empty token': { authorization: async () => ({ scheme: 'Bearer', token: '' }) },
  'nothing at all': { ...DUMMY, headers: { Authorization: () => undefined } },
};

async function world(t, { imodels = 23, sandbox: args = [], route = {} } = {}) {
  const sandbox = await startSandbox(t, ['--imodels', String(imodels), ...args]);
  const proxy = await startProxy(t, {
    workers: 2,
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
    routes: [{ inject: 'agent', upstream: sandbox.hub, ...route }],
  });
  return { sandbox, proxy };
}

const manager = (proxy, headers = {}) =>
  new management.IModelsClient({ api: { baseUrl: `${proxy.origin}/imodels` }, headers });

function author(proxy) {
  return new authoring.IModelsClient({
    api: { baseUrl: `${proxy.origin}/imodels` },
    cloudStorage: new azure.AzureClientStorage(new azure.BlockBlobClientWrapperFactory()),
  });
}

async function all(list) {
  const found = [];
  for await (const entity of list) found.push(entity);
  return found;
}

for (const encoding of ['identity', 'gzip', 'br', 'deflate', undefined]) {
  test(`imodels-client-management follows every page (${encoding ?? 'as axios asks'})`, async (t) => {
    const { sandbox, proxy } = await world(t, { imodels: 57 });
    const client = manager(proxy, encoding ? { 'Accept-Encoding': encoding } : {});
    for (const list of [client.iModels.getMinimalList, client.iModels.getRepresentationList]) {
      const found = await all(
        list.call(client.iModels, { ...DUMMY, urlParams: { iTwinId: sandbox.itwin_id, $top: 10 } }),
      );
      assert.equal(new Set(found.map((imodel) => imodel.id)).size, 57);
    }
    const counts = await sandbox.counts();
    assert.equal(counts.tokens_issued, 1);
    assert.deepEqual(counts.hub_answers, { 200: 12 });
    assert.equal(counts.hub_authorized, 12, 'every page came with the token');
  });
}

for (const [what, params] of Object.entries(WITHOUT)) {
  test(`imodels-client-management with ${what}`, async (t) => {
    const { sandbox, proxy } = await world(t);
    const found = await all(
      manager(proxy).iModels.getMinimalList({
        ...params,
        urlParams: { iTwinId: sandbox.itwin_id, $top: 20 },
      }),
    );
    assert.equal(found.length, 23);
  });
}

test('imodels-client-management creates, changes, follows the links of what it got, deletes', async (t) => {
  const { sandbox, proxy } = await world(t);
  const client = manager(proxy);
  const name = 'Bridge & Tunnel / 50 % + "ü"';
  const created = await client.iModels.createEmpty({
    ...DUMMY,
    iModelProperties: { iTwinId: sandbox.itwin_id, name, description: 'x'.repeat(200) },
  });
  assert.equal(created.name, name);
  const updated = await client.iModels.update({
    ...DUMMY,
    iModelId: created.id,
    iModelProperties: { description: 'changed' },
  });
  assert.equal(updated.description, 'changed');

  const [first] = await all(
    client.iModels.getRepresentationList({ ...DUMMY, urlParams: { iTwinId: sandbox.itwin_id, $top: 1 } }),
  );
  assert.ok((await first.getCreator()).id, 'the creator\'s link leads somewhere');
  const changesets = await all(
    client.changesets.getRepresentationList({ ...DUMMY, iModelId: first.id, urlParams: { $top: 2 } }),
  );
  assert.equal(changesets.length, 5);
  assert.ok((await changesets.at(-1).getCurrentOrPrecedingCheckpoint()) !== null);
  await client.iModels.delete({ ...DUMMY, iModelId: created.id });
  await assert.rejects(client.iModels.getSingle({ ...DUMMY, iModelId: created.id }), (error) => {
    assert.equal(error.code, management.IModelsErrorCode.IModelNotFound);
    return true;
  });
});

test('imodels-client-management forks: the place in Location is one that it can ask', async (t) => {
  const { sandbox, proxy } = await world(t);
  const client = manager(proxy);
  const [first] = await all(
    client.iModels.getMinimalList({ ...DUMMY, urlParams: { iTwinId: sandbox.itwin_id, $top: 1 } }),
  );
  const fork = await client.iModels.fork({
    ...DUMMY,
    iModelId: first.id,
    iModelProperties: { iTwinId: sandbox.itwin_id, name: 'forked' },
  });
  assert.equal(fork.name, 'forked');
});

test('a thumbnail goes up and comes back byte for byte', async (t) => {
  const { sandbox, proxy } = await world(t);
  const client = manager(proxy);
  const [first] = await all(
    client.iModels.getMinimalList({ ...DUMMY, urlParams: { iTwinId: sandbox.itwin_id, $top: 1 } }),
  );
  const image = new Uint8Array(50_000).map((_, n) => (n * 31) % 256);
  await client.thumbnails.upload({
    ...DUMMY,
    iModelId: first.id,
    thumbnailProperties: { imageType: management.ContentType.Png, image },
  });
  const answer = await client.thumbnails.download({ ...DUMMY, iModelId: first.id });
  assert.deepEqual(Buffer.from(answer.image), Buffer.from(image));
});

test('imodels-client-authoring: files go to the storage without our token, the rest through us', async (t) => {
  const { sandbox, proxy } = await world(t);
  const client = author(proxy);
  const home = directory(t);
  const baseline = path.join(home, 'baseline.bim');
  writeFileSync(baseline, Buffer.alloc(300_000, 'baseline'));
  const created = await client.iModels.createFromBaseline({
    ...DUMMY,
    iModelProperties: { iTwinId: sandbox.itwin_id, name: 'from a baseline', filePath: baseline },
  });
  assert.equal(created.state, 'initialized');

  const briefcase = await client.briefcases.acquire({ ...DUMMY, iModelId: created.id });
  const file = path.join(home, 'changeset');
  writeFileSync(file, Buffer.alloc(70_000, 'changeset'));
  const id = createHash('sha1').update('changeset').digest('hex');
  const pushed = await client.changesets.create({
    ...DUMMY,
    iModelId: created.id,
    changesetProperties: { id, briefcaseId: briefcase.briefcaseId, filePath: file },
  });
  assert.equal(pushed.state, 'fileUploaded');
  const [downloaded] = await client.changesets.downloadList({
    ...DUMMY,
    iModelId: created.id,
    targetDirectoryPath: path.join(home, 'downloads'),
  });
  assert.ok(readFileSync(downloaded.filePath).equals(readFileSync(file)));

  const counts = await sandbox.counts();
  assert.ok(counts.storage_requests >= 3);
  assert.equal(counts.storage_with_authorization, 0);
  assert.equal(counts.storage_bad_signature, 0);
  assert.deepEqual(Object.keys(counts.hub_answers).sort(), ['200', '201']);
});

test('itwins-client lists page by page, and creates', async (t) => {
  const { sandbox, proxy } = await world(t);
  const client = new itwins.ITwinsAccessClient(`${proxy.origin}/itwins`);
  for (let n = 0; n < 5; n += 1) {
    const created = await client.createiTwin('Bearer dummy', {
      class: 'Endeavor',
      subClass: 'Project',
      displayName: `Line ${n} & more`,
      number: `N-${n}`,
    });
    assert.equal(created.status, 201, JSON.stringify(created));
    assert.equal(created.data.displayName, `Line ${n} & more`);
  }
  const found = [];
  for (let skip = 0; ; skip += 3) {
    const answer = await client.queryAsync('Bearer dummy', 'Project', { top: 3, skip });
    assert.equal(answer.status, 200, JSON.stringify(answer));
    found.push(...answer.data);
    if (answer.data.length < 3) break;
  }
  assert.equal(new Set(found.map((itwin) => itwin.id)).size, 7);
  assert.equal((await sandbox.counts()).tokens_issued, 1);
});

test('a refused token is replaced: the client sees success, and what it creates is created once', async (t) => {
  const { sandbox, proxy } = await world(t);
  const models = manager(proxy);
  await all(models.iModels.getMinimalList({ ...DUMMY, urlParams: { iTwinId: sandbox.itwin_id, $top: 20 } }));
  await sandbox.fault({ revoke_tokens: true });
  const created = await models.iModels.createEmpty({
    ...DUMMY,
    iModelProperties: { iTwinId: sandbox.itwin_id, name: 'after a 401' },
  });
  assert.equal(created.name, 'after a 401');
  const counts = await sandbox.counts();
  assert.equal(counts.tokens_issued, 2);
  assert.deepEqual(counts.hub_answers, { 200: 2, 201: 1, 401: 1 });
});

test('a refused token is replaced for itwins-client too', async (t) => {
  const { sandbox, proxy } = await world(t);
  const twins = new itwins.ITwinsAccessClient(`${proxy.origin}/itwins`);
  assert.equal((await twins.queryAsync('Bearer dummy', 'Project')).status, 200);
  await sandbox.fault({ revoke_tokens: true });
  const answer = await twins.queryAsync('Bearer dummy', 'Project');
  assert.equal(answer.status, 200);
  assert.equal(answer.data.length, 2);
  assert.deepEqual((await sandbox.counts()).hub_answers, { 200: 2, 401: 1 });
});

test('twenty calls that meet one refused token cost one new token', async (t) => {
  const { sandbox, proxy } = await world(t);
  const client = manager(proxy);
  const one = () =>
    all(client.iModels.getMinimalList({ ...DUMMY, urlParams: { iTwinId: sandbox.itwin_id, $top: 100 } }));
  await one();
  await sandbox.fault({ revoke_tokens: true });
  const lists = await Promise.all(Array.from({ length: 20 }, one));
  assert.ok(lists.every((list) => list.length === 23));
  assert.equal((await sandbox.counts()).tokens_issued, 2);
});

test('an unknown client stays a 401 that the clients can read, without a token for each call', async (t) => {
  const { sandbox, proxy } = await world(t);
  await sandbox.fault({ hub: { kind: 'unknown_client' } });
  const models = manager(proxy);
  for (let n = 0; n < 5; n += 1) {
    await assert.rejects(
      all(models.iModels.getMinimalList({ ...DUMMY, urlParams: { iTwinId: sandbox.itwin_id } })),
      (error) => error.code === management.IModelsErrorCode.Unauthorized,
    );
  }
  const twins = new itwins.ITwinsAccessClient(`${proxy.origin}/itwins`);
  const answer = await twins.queryAsync('Bearer dummy', 'Project');
  assert.equal(answer.status, 401);
  assert.ok(answer.error.code);
  assert.ok((await sandbox.counts()).token_requests <= 3);
});

test('403 and 429 are the upstream\'s own: passed on as they are, nothing fetched, nothing repeated', async (t) => {
  const { sandbox, proxy } = await world(t);
  await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}`);
  for (const [fault, status] of [
    [{ kind: 'forbidden' }, 403],
    [{ kind: 'rate_limited', retry_after: 7 }, 429],
  ]) {
    await sandbox.fault({ hub: { ...fault, times: { next: 1 } } });
    const before = await sandbox.counts();
    const answer = await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}`);
    assert.equal(answer.status, status);
    if (status === 429) assert.equal(answer.headers.get('retry-after'), '7');
    assert.ok((await answer.json()).error.code);
    const after = await sandbox.counts();
    assert.equal(after.hub_requests - before.hub_requests, 1);
    assert.equal(after.tokens_issued, before.tokens_issued);
  }
});

for (const kind of ['login_page', 'login_redirect']) {
  test(`a ${kind.replace('_', ' ')} in place of an answer is an error that the clients notice`, async (t) => {
    const { sandbox, proxy } = await world(t);
    await sandbox.fault({ hub: { kind } });
    const raw = await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}`, { redirect: 'manual' });
    assert.equal(raw.status, 502);
    assert.match(raw.headers.get('content-type'), /^application\/json/);
    assert.ok((await raw.json()).error.message);
    const twins = new itwins.ITwinsAccessClient(`${proxy.origin}/itwins`);
    assert.notEqual((await twins.queryAsync('Bearer dummy', 'Project')).status, 200);
  });
}

test('the authorization server is gone: what a client gets is an error of its own kind', async (t) => {
  const { sandbox, proxy } = await world(t, { route: { inject: { credential: 'agent', wait: '1s' } } });
  await sandbox.fault({ idp_door: 'refuse', revoke_tokens: true });
  const twins = new itwins.ITwinsAccessClient(`${proxy.origin}/itwins`);
  const answer = await twins.queryAsync('Bearer dummy', 'Project');
  assert.ok(answer.status >= 400, JSON.stringify(answer));
  assert.ok(answer.error.code);
});
