// @azure/storage-blob on links that came through the proxy: not a byte of them may change.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BlockBlobClient } from '@azure/storage-blob';

import { startProxy, startSandbox } from './support/program.js';

async function world(t) {
  const sandbox = await startSandbox(t);
  const proxy = await startProxy(t, {
    providers: { sandbox: { issuer: sandbox.issuer } },
    credentials: {
      agent: { provider: 'sandbox', client_id: sandbox.client_id, client_secret: sandbox.client_secret },
    },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [{ inject: 'agent', upstream: sandbox.hub }],
  });
  const imodels = await (
    await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}&$top=1`, {
      headers: { prefer: 'return=representation' },
    })
  ).json();
  const changesets = async (origin, headers = {}) =>
    (
      await fetch(`${origin}/imodels/${imodels.iModels[0].id}/changesets`, {
        headers: { prefer: 'return=representation', ...headers },
      })
    ).json();
  return { sandbox, proxy, changesets };
}

for (const encoding of ['identity', 'gzip', 'br']) {
  test(`storage links pass as they are while the others point at us (${encoding})`, async (t) => {
    const { sandbox, proxy, changesets } = await world(t);
    const answer = await changesets(proxy.origin, { 'accept-encoding': encoding });
    for (const { _links } of answer.changesets) {
      assert.ok(_links.download.href.startsWith(`${sandbox.storage}/`), _links.download.href);
      assert.ok(_links.self.href.startsWith(`${proxy.origin}/`), _links.self.href);
      // The sandbox signs path and query as written: a changed byte is a refusal.
      const content = await new BlockBlobClient(_links.download.href).downloadToBuffer();
      assert.ok(content.length > 0);
    }
    const counts = await sandbox.counts();
    assert.equal(counts.storage_bad_signature, 0);
    assert.equal(counts.storage_with_authorization, 0);
  });
}

test('a blob goes up in blocks and comes down in ranges', async (t) => {
  const { sandbox } = await world(t);
  const blob = new BlockBlobClient(sandbox.upload_link);
  const content = Buffer.alloc(9 << 20, 'block');
  await blob.uploadData(content, { blockSize: 1 << 20, concurrency: 4, maxSingleShotSize: 1 << 20 });
  assert.equal((await sandbox.counts()).storage_with_authorization, 0);
});
