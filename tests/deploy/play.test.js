// Pods as the API server stores them after the injector was asked, played by podman: an agent that knows
// nothing of tokens lists iModels through the proxy that was put beside it.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { stringify } from 'yaml';

import { cluster, PODS } from './support/cluster.js';
import { injector, NAME, ownCertificate, PROGRAM } from './support/injector.js';
import { refusal, until } from './support/machine.js';
import { podman5 } from './support/podman.js';

const cannot = { skip: refusal() ?? false };
const ITWIN = '22fdf038-024e-47b5-80aa-a1718a89a986';
let kube;
let webhook;
let node;
let program;
let agent;

before(async () => {
  if (cannot.skip) return;
  node = await podman5();
  program = await node.program(PROGRAM);
  agent = await node.agent(path.join(import.meta.dirname, 'agent/list-imodels'));
  kube = await cluster();
  const [repository, tag] = program.split(/:(?=[^/]*$)/);
  // Podman knows no native sidecars.
  const values = { image: { repository, tag, pullPolicy: 'Never' }, sidecar: { native: 'never' }, injector: { certificate: await ownCertificate(kube, 'tls') } };
  webhook = await injector(kube, { replicas: 1, values });
}, { timeout: 180_000 });

after(async () => {
  await webhook?.stop();
  await kube?.stop();
  await node?.stop();
});

/** What a cluster's user has beside the pod. */
const secret = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'itwin-client' },
  stringData: { 'client-id': 'service-sandbox', 'client-secret': 'sandbox-secret' },
};
const configured = (config) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'own' },
  data: { 'config.yaml': stringify(config) },
});

/** A pod with an agent that runs `script`, and with the mock of iTwin: http is for loopback only. */
const pod = (name, script, annotations, spec) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    labels: { [`${NAME}/inject`]: 'true' },
    annotations: Object.fromEntries(Object.entries({ containers: 'agent', ...annotations }).map(([key, value]) => [`${NAME}/${key}`, value])),
  },
  spec: {
    restartPolicy: 'Never',
    ...spec,
    containers: [
      { name: 'agent', image: agent, imagePullPolicy: 'Never', command: ['sh', '-euc', script] },
      {
        name: 'sandbox',
        image: program,
        imagePullPolicy: 'Never',
        args: ['sandbox', '--port', '9000', '--imodels', '15'],
      },
    ],
  },
});

/** Asks the API server for the pod, and answers it as it is stored. */
async function stored(manifest) {
  const { code, stdout, stderr } = await kube.create(manifest, ['-o', 'json']);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

/** Plays these objects; the pod is gone after the test. */
async function play(t, ...objects) {
  const { metadata: { name }, spec } = objects.find(({ kind }) => kind === 'Pod');
  // Of a volume in memory podman makes one for each container, where a node makes one for the pod.
  for (const { emptyDir } of spec.volumes) delete emptyDir?.medium;
  t.after(() => node.podman(['pod', 'rm', '--force', '--time', '0', name]));
  await node.succeed(['kube', 'play', '-'], { input: objects.map((object) => JSON.stringify(object)).join('\n---\n') });
  return {
    /** What a container has to say, and all it says where something went wrong. */
    output: (container) => node.succeed(['logs', `${name}-${container}`]),
    async logs(container) {
      const { stdout, stderr } = await node.podman(['logs', `${name}-${container}`]);
      return stdout + stderr;
    },
    /** Waits for the end of a container: its exit code. */
    async ended(container) {
      return Number(await node.succeed(['wait', `${name}-${container}`]));
    },
    exec: (container, command) => node.podman(['exec', `${name}-${container}`, ...command]),
    async inspect(container) {
      return JSON.parse(await node.succeed(['inspect', `${name}-${container}`]))[0];
    },
  };
}

/** The proxy of a stored pod, to be told of the mock's authorization server, which annotations do not name. */
function towardsSandbox({ spec }) {
  const proxy = [...(spec.initContainers ?? []), ...spec.containers].find(({ name }) => name === NAME);
  proxy.env.push({ name: 'ITWIN_ISSUER', value: 'http://127.0.0.1:9000' });
  return proxy;
}

const TWO_PAGES = 'page 1: 10 iModels\npage 2: 5 iModels\ndone: 2 pages\n';

test('an agent beside the proxy lists two pages of iModels', cannot, async (t) => {
  const asked = pod('reverse', `list-imodels "$ITWIN_AUTH_PROXY_URL" ${ITWIN}`, { upstream: 'http://127.0.0.1:9001' });
  const made = await stored(asked);
  const proxy = towardsSandbox(made);
  const played = await play(t, secret, made);
  assert.equal(await played.ended('agent'), 0, await played.logs('agent') + await played.logs(NAME));
  assert.equal(await played.output('agent'), TWO_PAGES);
  // What holds the next container back on a node succeeds here as well.
  const { code, stderr } = await played.exec(NAME, proxy.lifecycle.postStart.exec.command);
  assert.equal(code, 0, stderr);
  // The proxy is as confined as the manifest says, and the agent has nothing of the secret.
  const { Config, HostConfig, EffectiveCaps } = await played.inspect(NAME);
  assert.match(Config.User, /^61501/);
  assert.equal(HostConfig.ReadonlyRootfs, true);
  assert.deepEqual(EffectiveCaps ?? [], []);
  const { Config: told, Mounts } = await played.inspect('agent');
  assert.doesNotMatch(JSON.stringify([told, Mounts]), /sandbox-secret|service-sandbox|itwin-client|itwin-auth-proxy-credential/);
});

// What a configuration in a ConfigMap says for all that follow.
const config = {
  providers: { sandbox: { issuer: 'http://127.0.0.1:9000' } },
  credentials: {
    agent: {
      provider: 'sandbox',
      client_id: 'service-sandbox',
      client_secret_file: '/run/secrets/itwin-auth-proxy/client-secret',
      scopes: ['itwin-platform'],
    },
  },
  listeners: [{ bind: '127.0.0.1:8080' }],
  routes: [{ hosts: ['api.bentley.com'], upstream: 'http://127.0.0.1:9001', inject: 'agent' }],
};

test('an agent that calls https://api.bentley.com does the same, by redirected connections', cannot, async (t) => {
  const own = {
    ...config,
    interception: { hosts: ['api.bentley.com'] },
    listeners: [...config.listeners, { bind: '127.0.0.1:15001', mode: 'transparent' }],
  };
  // Nobody is at the address that the name leads to.
  const hostAliases = [{ ip: '192.0.2.1', hostnames: ['api.bentley.com'] }];
  const script = `list-imodels https://api.bentley.com ${ITWIN}`;
  const wishes = { mode: 'transparent', config: 'own', 'credential-secret': 'itwin-client' };
  const made = await stored(pod('transparent', script, wishes, { hostAliases }));
  const privileged = made.spec.initContainers.filter(({ securityContext }) => securityContext?.capabilities?.add);
  assert.deepEqual(privileged.map(({ securityContext }) => securityContext.capabilities.add), [['NET_ADMIN']]);
  const played = await play(t, secret, configured(own), made);
  assert.equal(await played.ended('agent'), 0, await played.logs('agent') + await played.logs(NAME));
  assert.equal(await played.output('agent'), TWO_PAGES);
});

test('a pod of a Job ends when its agent has ended the proxy', cannot, async (t) => {
  const script = `list-imodels "$ITWIN_AUTH_PROXY_URL" ${ITWIN}\ncurl -fsS -X POST http://127.0.0.1:9901/quit`;
  const own = { ...config, admin: { allow_quit: true }, routes: [{ upstream: 'http://127.0.0.1:9001', inject: 'agent' }] };
  const made = await stored(pod('job', script, { config: 'own', 'credential-secret': 'itwin-client' }));
  const played = await play(t, secret, configured(own), made);
  assert.equal(await played.ended('agent'), 0, await played.logs('agent'));
  assert.equal(await played.ended(NAME), 0);
});

test('what a newer cluster makes of the pod holds the agent back until there is a token', cannot, async (t) => {
  const [, address] = PODS;
  const newer = await webhook.start(address, { native_sidecars: 'always' });
  t.after(() => newer.stop());
  const script = `list-imodels "$ITWIN_AUTH_PROXY_URL" ${ITWIN}`;
  const made = await webhook.review(address, pod('native', script, { upstream: 'http://127.0.0.1:9001' }));
  const proxy = made.spec.initContainers.pop();
  assert.equal(proxy.name, NAME);
  assert.equal(proxy.restartPolicy, 'Always');
  towardsSandbox({ spec: { containers: [proxy] } });
  // Podman knows neither such containers nor when a probe lets the next one start: all start at once, and
  // the agent here waits for a file, which it is given when the probe has succeeded.
  const { startupProbe, restartPolicy, ...container } = proxy;
  const [first, ...others] = made.spec.containers;
  first.command = ['sh', '-euc', `until [ -e /tmp/go ]; do sleep 0.1; done\n${script}`];
  made.spec.containers = [container, first, ...others];
  const played = await play(t, secret, made);
  await until('the probe succeeds', async () => (await played.exec(NAME, startupProbe.exec.command)).code === 0);
  assert.equal((await played.exec('agent', ['sh', '-c', ': > /tmp/go'])).code, 0);
  assert.equal(await played.ended('agent'), 0, await played.logs('agent') + await played.logs(NAME));
  assert.equal(await played.output('agent'), TWO_PAGES);
});
