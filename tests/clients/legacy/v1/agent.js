// An agent of generation 1.x. Nothing in it knows of a proxy: its environment says where to ask.
// Prints what it found, as JSON.
const { ClientRequestContext } = require('@bentley/bentleyjs-core');
const { Config, ConnectClient, IModelBaseHandler, RealityDataServicesClient } = require('@bentley/imodeljs-clients');
const { OidcAgentClient } = require('@bentley/imodeljs-clients-backend');

async function main() {
  const context = new ClientRequestContext('b0a4d9f0-9a7f-4b8e-9a77-000000000001');
  const agent = new OidcAgentClient({
    clientId: 'agent-of-old',
    clientSecret: 'a dummy + secret/',
    scope: process.env.AGENT_SCOPE,
  });
  const calls = Number(process.env.AGENT_CALLS ?? 1);
  const tokens = await Promise.all(Array.from({ length: calls }, () => agent.getToken(context)));
  const url = (client) => client.getUrl(context).catch((error) => ({ failed: String(error) }));
  return {
    tokens: tokens.map((token) => token.toTokenString()),
    expires: tokens.map((token) => token.getExpiresAt()),
    again: (await agent.getAccessToken(context)).toTokenString(),
    buddi: Config.App.getString('imjs_buddi_url', 'none'),
    hub: await url(new IModelBaseHandler()),
    reality: await url(new RealityDataServicesClient()),
    connect: await url(new ConnectClient()),
  };
}

main().then(
  (found) => console.log(JSON.stringify(found)),
  (error) => {
    console.log(JSON.stringify({ failed: String(error.message ?? error) }));
  },
);
