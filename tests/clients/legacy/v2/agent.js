// An agent of generation 2.x. Nothing in it knows of a proxy: its environment says where to ask.
// Prints what it found, as JSON.
const { ClientRequestContext } = require('@bentley/bentleyjs-core');
const { AccessToken, AuthorizedClientRequestContext } = require('@bentley/itwin-client');
const { AgentAuthorizationClient, HttpRequestHost, IntrospectionClient } = require('@bentley/backend-itwin-client');
const { IModelHubClient } = require('@bentley/imodelhub-client');

async function introspect(token) {
  const [id, secret] = process.env.AGENT_API.split(':');
  const context = new AuthorizedClientRequestContext(AccessToken.fromTokenString(`Bearer ${token}`));
  return { introspected: await new IntrospectionClient(id, secret).introspect(context) };
}

async function main() {
  if (process.env.AGENT_TOKEN) return introspect(process.env.AGENT_TOKEN);
  const context = new ClientRequestContext('b0a4d9f0-9a7f-4b8e-9a77-000000000002');
  await HttpRequestHost.initialize();
  const agent = new AgentAuthorizationClient({
    clientId: 'agent-of-old',
    clientSecret: 'a dummy + secret/',
    scope: process.env.AGENT_SCOPE,
  });
  const calls = Number(process.env.AGENT_CALLS ?? 1);
  const tokens = await Promise.all(Array.from({ length: calls }, () => agent.getAccessToken(context)));
  const found = {
    tokens: tokens.map((token) => token.toTokenString()),
    expires: tokens.map((token) => token.getExpiresAt()),
    again: (await agent.getAccessToken(context)).toTokenString(),
  };
  if (process.env.AGENT_ITWIN) {
    const authorized = new AuthorizedClientRequestContext(tokens[0], context.activityId);
    const iModels = await new IModelHubClient().iModels.get(authorized, process.env.AGENT_ITWIN);
    found.iModels = iModels.map((iModel) => iModel.wsgId);
  }
  return found;
}

main().then(
  (found) => console.log(JSON.stringify(found)),
  (error) => {
    console.log(JSON.stringify({ failed: String(error.message ?? error) }));
  },
);
