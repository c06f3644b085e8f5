// Service users with name and password (SAML), delegation by JWT, and iModelHub as real clients of
// generations 1.x and 2.x call it, against the sandbox.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { bearer, claims } from './support/config.js';
import { legacy } from './support/legacy.js';
import { startOrigin } from './support/origin.js';
import { command, directory, startProxy, startSandbox, until } from './support/program.js';

const SAML_TOKEN = 'urn:ietf:params:oauth:grant-type:saml-token';

/** A proxy with a service user of the sandbox, and one that acts for that user. */
async function serviceUser(t, { password, upstream, sts = {}, ready, ...rest } = {}) {
  const sandbox = await startSandbox(t, ['--algorithm', 'es256']);
  const file = path.join(directory(t), 'password');
  writeFileSync(file, `${password ?? sandbox.password}\n`, { mode: 0o600 });
  const client = { client_id: sandbox.client_id, client_secret: sandbox.client_secret };
  const to = upstream ?? sandbox.hub;
  const config = {
    workers: 2,
    providers: { ims: { issuer: sandbox.issuer } },
    credentials: {
      user: {
        ...client,
        grant: 'saml_bearer',
        username: sandbox.username,
        password_file: file,
        sts: { url: sandbox.sts, delegation_url: sandbox.delegation, ...sts },
      },
      reader: { ...client, grant: 'jwt_bearer', assertion: { credential: 'user' }, scopes: 'imodels:read' },
    },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [
      { path: '/reader/**', inject: 'reader', upstream: to },
      { path: '/**', inject: 'user', upstream: to },
    ],
    ...rest,
  };
  const proxy = await startProxy(t, config, { ready });
  const requests = async () => (await (await fetch(`${sandbox.hub}/__requests`)).json());
  return { sandbox, proxy, file, requests };
}

test('a service user with name and password, and a credential that acts for it: one sign-in', async (t) => {
  const origin = await startOrigin(t);
  const { sandbox, proxy, requests } = await serviceUser(t, { upstream: origin.origin });
  assert.equal((await fetch(`${proxy.origin}/a`)).status, 200);
  const token = claims(bearer(origin.requests.at(-1).authorization));
  assert.equal(token.preferred_username, sandbox.username);
  let counts = await sandbox.counts();
  assert.deepEqual([counts.sts_requests, counts.delegation_requests, counts.token_requests], [1, 1, 2]);

  const { token: asked } = await requests();
  assert.deepEqual(asked.map(({ grant_type: grant }) => grant).sort(), [
    'urn:ietf:params:oauth:grant-type:jwt-bearer',
    SAML_TOKEN,
  ]);
  assert.equal((await fetch(`${proxy.origin}/reader/a`)).status, 200);
  const delegated = claims(bearer(origin.requests.at(-1).authorization));
  assert.deepEqual([delegated.scope, delegated.preferred_username], [['imodels:read'], sandbox.username]);
  counts = await sandbox.counts();
  assert.equal(counts.sts_requests, 1);
  const explained = async (target) => (await command(['explain', '--config', proxy.file, 'GET', target])).stdout;
  assert.match(await explained('/reader/a'), /the token of credential user \(client service-sandbox, grant saml_bearer\)/);
  assert.match(await explained('/a'), /assertion of the STS 127\.0\.0\.1 for the user agent@sandbox\.example, and one of the delegation/);
});

test('a rejected token of a service user is renewed with the kept assertion', async (t) => {
  const { sandbox, proxy } = await serviceUser(t);
  await sandbox.fault({ revoke_tokens: true });
  const answer = await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}`);
  assert.equal(answer.status, 200, await answer.text());
  const counts = await sandbox.counts();
  assert.equal(counts.sts_requests, 1);
  assert.equal(counts.delegation_requests, 2);

});

test('a kept assertion that is refused is replaced, and the call is answered', async (t) => {
  const { sandbox, proxy } = await serviceUser(t);
  await sandbox.fault({ revoke_tokens: true, revoke_assertions: true });
  const answer = await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}`);
  assert.equal(answer.status, 200, await answer.text());
  assert.equal((await sandbox.counts()).sts_requests, 2);
});

test('a wrong password is told everywhere, not tried again, and the right one is taken at once', async (t) => {
  const { sandbox, proxy, file } = await serviceUser(t, { password: 'not the password', ready: false });
  const reason = 'the STS 127.0.0.1 refuses the user name or the password (401)';
  const answer = await fetch(`${proxy.origin}/imodels`);
  assert.equal(answer.status, 503);
  const said = await answer.json();
  assert.match(said.error.details[0].message, /credential user: the STS/);
  const delegated = await fetch(`${proxy.origin}/reader/imodels`);
  assert.ok((await delegated.text()).includes(`its assertion is the token of \`user\`, and there is none: ${reason}`));
  const status = JSON.stringify(await proxy.status());
  assert.ok(status.includes(reason), status);
  const live = await command(['check', '--config', proxy.file, '--live']);
  const told = live.stdout + live.stderr;
  assert.ok(told.includes(`failure  token for credential user (scopes: none asked for): ${sandbox.issuer}`), told);
  assert.ok(told.includes(reason));
  assert.ok(told.includes('→ see the line about credential user, whose token it shows'), told);
  await Promise.all(Array.from({ length: 20 }, () => fetch(`${proxy.origin}/imodels`)));
  assert.equal((await sandbox.counts()).sts_requests, 2, 'one by the proxy, one by check');
  assert.ok(!proxy.lines.join('\n').includes('not the password'));

  writeFileSync(file, sandbox.password);
  await until(async () => (await fetch(`${proxy.origin}/reader/itwins`)).status !== 503, { deadline: 45_000 });
});

test('the STS goes away, and nobody notices while tokens live', async (t) => {
  const { sandbox, proxy } = await serviceUser(t);
  await sandbox.fault({ idp: { kind: 'status', status: 503, at: 'sts' } });
  await sandbox.fault({ revoke_assertions: true });
  for (let n = 0; n < 5; n += 1) {
    assert.equal((await fetch(`${proxy.origin}/imodels?iTwinId=${sandbox.itwin_id}`)).status, 200);
  }
});

/** A configuration of generation 1.x that finds its services at these URLs. */
async function buddi(t, urls) {
  const { Config } = legacy('v1')('@bentley/imodeljs-clients');
  const origin = await startOrigin(t, {
    answer(request, response) {
      const key = new URL(request.url, 'http://x').searchParams.get('url');
      if (!urls[key]) return false;
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ result: { url: urls[key] } }));
      return true;
    },
  });
  Config.App.merge({
    imjs_buddi_url: `${origin.origin}/WebService`,
    imjs_default_relying_party_uri: 'https://connect-wsg20.bentley.com',
  });
}

test('an agent of 1.x works with its iModelHub through the proxy, whatever token it shows', async (t) => {
  const { sandbox, proxy, requests } = await serviceUser(t);
  const v1 = legacy('v1');
  const { AccessToken, AuthorizedClientRequestContext, IModelHubClient, IModelQuery, ChangeSetQuery } = v1('@bentley/imodeljs-clients');
  await buddi(t, { iModelHubApi: proxy.origin });
  const { AzureFileHandler } = v1('@bentley/imodeljs-clients-backend');
  const hub = new IModelHubClient(new AzureFileHandler());
  const context = new AuthorizedClientRequestContext(AccessToken.fromJsonWebTokenString('dummy'), 'activity-1');

  const all = await hub.iModels.get(context, sandbox.itwin_id);
  assert.equal(all.length, 23);
  const [named] = await hub.iModels.get(context, sandbox.itwin_id, new IModelQuery().byName(all[3].name));
  assert.equal(named.id, all[3].id);
  const sets = await hub.changeSets.get(context, named.id, new ChangeSetQuery().selectDownloadUrl().latest());
  assert.equal(sets.length, 5);
  assert.equal(sets[0].index, '5');
  // a link to storage works, and the token never goes there
  const file = await fetch(sets[0].downloadUrl);
  assert.equal(file.status, 200);

  const made = await hub.iModels.create(context, sandbox.itwin_id, 'Made by 1.x');
  assert.match(made.id, /^[0-9a-f-]{36}$/);
  const twice = await hub.iModels.create(context, sandbox.itwin_id, 'Made by 1.x').catch((error) => error);
  assert.equal(twice.name, 'iModelHub.iModelAlreadyExists');
  await hub.iModels.delete(context, sandbox.itwin_id, made.id);
  const gone = await hub.iModels.get(context, sandbox.itwin_id, new IModelQuery().byId(made.id)).catch((error) => error);
  assert.equal(gone.name, 'InstanceNotFound');

  const { hub: seen } = await requests();
  assert.ok(seen.every(({ token }) => token !== null), 'every call had a good token');
  assert.ok(seen.some(({ target }) => target.includes('/?$filter=Name+eq+%27Dam%20004%27')));
  assert.ok(seen.some(({ target }) => target.startsWith(`/sv1.1/Repositories/iModel--${named.id}/iModelScope/ChangeSet/?`)));
});

test('a withdrawn token costs an agent of 1.x nothing; what no token helps is its LoginRequired', async (t) => {
  const { sandbox, proxy } = await serviceUser(t);
  const v1 = legacy('v1');
  const { AccessToken, AuthenticationError, AuthorizedClientRequestContext, IModelHubClient } = v1('@bentley/imodeljs-clients');
  await buddi(t, { iModelHubApi: proxy.origin });
  const context = new AuthorizedClientRequestContext(AccessToken.fromJsonWebTokenString('dummy'));
  await sandbox.fault({ revoke_tokens: true });
  assert.equal((await new IModelHubClient().iModels.get(context, sandbox.itwin_id)).length, 23);

  await sandbox.fault({ hub: { kind: 'unauthorized' } });
  const error = await new IModelHubClient().iModels.get(context, sandbox.itwin_id).catch((thrown) => thrown);
  assert.ok(error instanceof AuthenticationError, String(error));
  assert.deepEqual([error.status, error.name], [302, 'Authentication Error']);
});

test('what the proxy itself refuses is an error that 1.x can read', async (t) => {
  const { proxy } = await serviceUser(t, { password: 'wrong', ready: false });
  const { AccessToken, AuthorizedClientRequestContext, IModelHubClient } = legacy('v1')('@bentley/imodeljs-clients');
  await buddi(t, { iModelHubApi: proxy.origin });
  const context = new AuthorizedClientRequestContext(AccessToken.fromJsonWebTokenString('dummy'));
  const error = await new IModelHubClient().iModels.get(context, 'a').catch((thrown) => thrown);
  assert.equal(error.status, 503);
  assert.equal(error.name, 'TokenUnavailable');
  assert.match(error.description, /refuses the user name or the password/);
});

test("the service user's own sign-in of 1.x passes through untouched", async (t) => {
  const sandbox = await startSandbox(t, ['--algorithm', 'es256']);
  const hosts = { ims: sandbox.issuer, hub: sandbox.hub };
  const proxy = await startProxy(t, {
    workers: 2,
    listeners: [{ bind: '127.0.0.1:0' }, { bind: '127.0.0.1:0' }],
    routes: [
      { path: '/sv1.1/**', upstream: hosts.hub },
      { path: '/**', upstream: hosts.ims },
    ],
  });
  const v1 = legacy('v1');
  const { OidcAgentClientV1 } = v1('@bentley/imodeljs-clients-backend');
  const { AuthorizedClientRequestContext, IModelHubClient } = v1('@bentley/imodeljs-clients');
  const { ClientRequestContext } = v1('@bentley/bentleyjs-core');
  const below = (url) => proxy.origin + new URL(url).pathname;
  await buddi(t, {
    'IMSOpenID': proxy.origin,
    'Mobile.ImsStsAuth': below(sandbox.sts),
    'ActiveSTSDelegationServiceUrl': below(sandbox.delegation).replace('/json/IssueEx', ''),
    'iModelHubApi': proxy.origin,
  });
  const agent = new OidcAgentClientV1({
    clientId: sandbox.client_id,
    clientSecret: sandbox.client_secret,
    scope: 'imodelhub context-registry-service:read-only',
    serviceUserEmail: sandbox.username,
    serviceUserPassword: sandbox.password,
  });
  const jwt = await agent.getToken(new ClientRequestContext());
  const { scope, preferred_username: user } = claims(jwt.toTokenString(1));
  assert.deepEqual([scope, user], [['imodelhub', 'context-registry-service:read-only'], sandbox.username]);
  const context = new AuthorizedClientRequestContext(jwt);
  assert.equal((await new IModelHubClient().iModels.get(context, sandbox.itwin_id)).length, 23);
  const { token } = await (await fetch(`${sandbox.hub}/__requests`)).json();
  // 1.x registers its client's secret for Basic, as ours does
  assert.deepEqual(token.map((one) => [one.grant_type, one.client_auth, one.result]), [[SAML_TOKEN, 'client_secret_basic', 'ok']]);
});
