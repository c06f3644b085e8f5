// What an application with Bentley's current clients does, as their documentation has it: no base
// URL, and a token that it has from nowhere. The packages are those of the directory in argv[2].
'use strict';
const { createRequire } = require('node:module');
const path = require('node:path');

const packages = createRequire(path.resolve(process.argv[2], 'package.json'));
const { IModelsClient } = packages('@itwin/imodels-client-management');
const { ITwinsAccessClient } = packages('@itwin/itwins-client');

const authorization = async () => ({ scheme: 'Bearer', token: 'dummy' });

const agents = {
  async imodels(iTwinId) {
    let found = 0;
    const list = new IModelsClient().iModels.getRepresentationList({
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
};

const [what, ...rest] = process.argv.slice(3);
agents[what](...rest).then(
  (came) => console.log(JSON.stringify(came)),
  (error) => console.log(JSON.stringify({ error: error.code ?? error.message })),
);
