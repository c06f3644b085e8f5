// Applications with other current clients, none of which is told of a proxy in its code.
const [what, ...rest] = process.argv.slice(2);
const url = 'https://api.bentley.com/imodels?$top=3&iTwinId=';
const found = (body) => ({ found: body.iModels.length });

const agents = {
  async fetch(iTwinId) {
    const answer = await fetch(url + iTwinId);
    return found(await answer.json());
  },
  async got(iTwinId) {
    const { got } = await import('got');
    return found(await got(url + iTwinId, { retry: { limit: 0 } }).json());
  },
  async 'service-authorization'(authority) {
    const { ServiceAuthorizationClient } = await import('@itwin/service-authorization');
    const client = new ServiceAuthorizationClient({
      clientId: 'its-own',
      clientSecret: 'not known to anybody',
      scope: 'itwin-platform',
      ...(authority && { authority }),
    });
    return { token: await client.getAccessToken() };
  },
  async 'reality-data'(baseUrl) {
    const { RealityDataAccessClient } = await import('@itwin/reality-data-client');
    const client = new RealityDataAccessClient(baseUrl && { baseUrl });
    const { realityDatas } = await client.getRealityDatas('Bearer dummy', undefined, undefined);
    return { found: realityDatas.length };
  },
  async storage(sas) {
    const { BlockBlobClient } = await import('@azure/storage-blob');
    const blob = new BlockBlobClient(sas, undefined, { retryOptions: { maxTries: 1 } });
    await blob.upload('the content', 11);
    return { content: (await blob.downloadToBuffer()).toString() };
  },
};

/** The innermost reason that has a code. */
function reason(error) {
  for (let at = error; at; at = at.cause) if (at.code) return at.code;
  return error.message;
}

try {
  console.log(JSON.stringify(await agents[what](...rest)));
} catch (error) {
  console.log(JSON.stringify({ error: reason(error) }));
}
