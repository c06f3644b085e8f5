// An agent of iModel.js 2.x: gets its token (`token`), or lists iModels with one that it has from
// nowhere (`hub`), or both (`agent`).
'use strict';
const path = require('node:path');
const { createRequire } = require('node:module');

const packages = createRequire(path.resolve(__dirname, '../legacy/v2/package.json'));
const { ClientRequestContext } = packages('@bentley/bentleyjs-core');
const { AccessToken, AuthorizedClientRequestContext } = packages('@bentley/itwin-client');
const { AgentAuthorizationClient, HttpRequestHost } = packages('@bentley/backend-itwin-client');
const { IModelHubClient } = packages('@bentley/imodelhub-client');

async function token() {
  const client = new AgentAuthorizationClient({
    clientId: 'its-own',
    clientSecret: 'not known to anybody',
    scope: 'itwin-platform',
  });
  return client.getAccessToken(new ClientRequestContext());
}

async function list(accessToken, iTwinId) {
  const context = new AuthorizedClientRequestContext(accessToken);
  return { found: (await new IModelHubClient().iModels.get(context, iTwinId)).length };
}

const agents = {
  token: async () => ({ token: (await token()).toTokenString() }),
  hub: (iTwinId) => list(AccessToken.fromTokenString('Bearer dummy'), iTwinId),
  agent: async (iTwinId) => list(await token(), iTwinId),
};

async function main(what, ...rest) {
  // as the start of an iModelHost does
  await HttpRequestHost.initialize();
  return {
    ...(await agents[what](...rest)),
    // what a proxy with an http URL does to this generation
    unverified: process.env.NODE_TLS_REJECT_UNAUTHORIZED === '0',
  };
}

main(...process.argv.slice(2)).then(
  (came) => console.log(JSON.stringify(came)),
  (error) => console.log(JSON.stringify({ error: error.message ?? error.name ?? String(error) })),
);
