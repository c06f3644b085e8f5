// An agent of iModel.js 1.x: gets its token and lists iModels, with the packages' own defaults. What
// it is told it is told by environment variables that its packages read.
'use strict';
const path = require('node:path');
const { createRequire } = require('node:module');

const packages = createRequire(path.resolve(__dirname, '../legacy/v1/package.json'));
const { ClientRequestContext } = packages('@bentley/bentleyjs-core');
const { AuthorizedClientRequestContext, IModelHubClient } = packages('@bentley/imodeljs-clients');
const { AzureFileHandler, OidcAgentClient, RequestHost } = packages('@bentley/imodeljs-clients-backend');

async function main(iTwinId) {
  // as the start of an iModelHost does
  await RequestHost.initialize();
  const agent = new OidcAgentClient({
    clientId: 'its-own',
    clientSecret: 'not known to anybody',
    scope: 'imodelhub',
  });
  const token = await agent.getAccessToken(new ClientRequestContext());
  const hub = new IModelHubClient(new AzureFileHandler());
  const found = await hub.iModels.get(new AuthorizedClientRequestContext(token), iTwinId);
  return { found: found.length };
}

main(...process.argv.slice(2)).then(
  (came) => console.log(JSON.stringify(came)),
  (error) => console.log(JSON.stringify({ error: error.message ?? error.name ?? String(error) })),
);
