// What an application with Bentley's current clients does, as their documentation has it: no base
// URL, and a token that it has from nowhere. The packages are those of the directory in argv[2].
'use strict';
const { createRequire } = require('node:module');
const { writeFileSync } = require('node:fs');
const path = require('node:path');

const packages = createRequire(path.resolve(process.argv[2], 'package.json'));
const { IModelsClient } = packages('@itwin/imodels-client-management');
const { ITwinsAccessClient } = packages('@itwin/itwins-client');

const authorization = async () => ({ scheme: 'Bearer', token: 'dummy' });

const agents = {
  async imodels(iTwinId, _file, baseUrl) {
    let found = 0;
    const list = new IModelsClient(baseUrl && { api: { baseUrl } }).iModels.getRepresentationList({
      authorization,
      urlParams: { iTwinId, $top: 10 },
    });
    for await (const imodel of list) found += imodel.id ? 1 : 0;
    return { found };
  },
  async itwins() {
    const answer = await new ITwinsAccessClient().queryAsync('Bearer dummy', 'Project');
    return { found: answer.data?.length, error: answer.error?.code };
  },
  async authoring(iTwinId, file) {
    packages('reflect-metadata');
    const authoring = packages('@itwin/imodels-client-authoring');
    const azure = packages('@itwin/object-storage-azure');
    const client = new authoring.IModelsClient({
      cloudStorage: new azure.AzureClientStorage(new azure.BlockBlobClientWrapperFactory()),
    });
    writeFileSync(file, Buffer.alloc(70_000, 'baseline'));
    const created = await client.iModels.createFromBaseline({
      authorization,
      iModelProperties: { iTwinId, name: 'from a baseline', filePath: file },
    });
    return { state: created.state };
  },
};

const [what, ...rest] = process.argv.slice(3);
agents[what](...rest).then(
  (came) => console.log(JSON.stringify(came)),
  (error) => console.log(JSON.stringify({ error: error.code ?? error.message })),
);
