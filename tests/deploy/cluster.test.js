// The injector as a cluster uses it: a real API server calls it at its service's name over its own TLS, and
// decides what becomes of the pods.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { parseAllDocuments } from 'yaml';

import { certificate } from './support/certificates.js';
import { cluster, PODS } from './support/cluster.js';
import { injector, NAME, NAMESPACE } from './support/injector.js';
import { refusal, until } from './support/machine.js';

const skip = refusal() ?? false;
const cannot = { skip };
let kube;
let webhook;

before(async () => {
  if (skip) return;
  kube = await cluster();
  webhook = await injector(kube);
  const labels = { 'itwin-auth-proxy/injection': 'enabled' };
  await kube.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'agents', labels } });
}, { timeout: 120_000 });

after(async () => {
  await webhook?.stop();
  await kube?.stop();
});

const AGENT = { name: 'agent', image: 'agent:1', command: ['list-imodels'] };

/** A pod that asks by its annotations, or with `labels` otherwise. */
const pod = (name, annotations, { spec, ...metadata } = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    namespace: 'agents',
    annotations: Object.fromEntries(Object.entries(annotations).map(([key, value]) => [`${NAME}/${key}`, value])),
    ...metadata,
  },
  // As the admission of service accounts would, which does not run here.
  spec: { serviceAccountName: 'default', containers: [AGENT], ...spec },
});

/** Makes the pod and answers it as it is stored. */
async function stored(manifest, args = []) {
  const { code, stdout, stderr } = await kube.create(manifest, [...args, '-o', 'json']);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

const named = (list, name) => (list ?? []).find((one) => one.name === name);

/** What stands in the webhook's Secret and in its configuration. */
async function kept() {
  const { data } = await kube.get('secret', `${NAME}-tls`, { namespace: NAMESPACE });
  const { webhooks } = await kube.get('mutatingwebhookconfiguration', NAME);
  const text = (key) => Buffer.from(data[key], 'base64').toString();
  return { certificate: text('tls.crt'), authorities: text('ca.crt'), bundles: webhooks.map(({ clientConfig }) => clientConfig.caBundle) };
}

/** The certificate that a replica serves, PEM. */
async function served(address) {
  const { stdout } = await kube.host.run('openssl', ['s_client', '-connect', `${address}:8443`]);
  return /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----\n/.exec(stdout)[0];
}

test('the injector made its certificate, told the API server of the authority, and all replicas serve it', cannot, async () => {
  const { certificate: made, authorities, bundles } = await kept();
  assert.equal(bundles.length, 2);
  for (const bundle of bundles) assert.equal(Buffer.from(bundle, 'base64').toString(), authorities);
  for (const address of PODS) assert.ok(made.startsWith(await served(address)));
});

test('its service account may do that and nothing else', cannot, async () => {
  const as = await kube.token(webhook.account, NAMESPACE);
  const lines = async (namespace) => {
    const list = await kube.succeed(['auth', 'can-i', '--list', '-n', namespace], { as });
    // Resources, paths, names, verbs; what everybody may is to ask for their own rights, and paths.
    return list.split('\n').slice(1).map((line) => line.split(/\s+/)).filter(([resource]) => resource && !resource.startsWith('selfsubject'));
  };
  const configurations = ['mutatingwebhookconfigurations.admissionregistration.k8s.io', '[]', `[${NAME}]`, '[get', 'patch]'];
  const secret = ['secrets', '[]', `[${NAME}-tls]`, '[get', 'update]'];
  assert.deepEqual(await lines(NAMESPACE), [configurations, secret]);
  assert.deepEqual(await lines('agents'), [configurations]);
});

test('a pod that asks is stored with the proxy beside its containers', cannot, async () => {
  const { metadata, spec } = await stored(pod('asks', { inject: 'true', scopes: 'itwin-platform imodels:read' }));
  const proxy = named(spec.containers, NAME);
  assert.ok(proxy, JSON.stringify(spec.containers));
  assert.equal(proxy.image, webhook.config.image);
  assert.equal(named(proxy.env, 'ITWIN_SCOPES').value, 'itwin-platform imodels:read');
  assert.equal(proxy.securityContext.runAsUser, 61501);
  // The agent learns where the proxy is and nothing else: the secret is mounted in the proxy alone.
  const agent = named(spec.containers, 'agent');
  assert.deepEqual(agent.command, AGENT.command);
  assert.equal(named(agent.env, 'ITWIN_AUTH_PROXY_URL').value, 'http://127.0.0.1:8080');
  const secret = spec.volumes.find((volume) => volume.secret);
  assert.equal(secret.secret.secretName, 'itwin-client');
  const mounting = spec.containers.filter((one) => (one.volumeMounts ?? []).some((mount) => mount.name === secret.name));
  assert.deepEqual(mounting.map((one) => one.name), [NAME]);
  assert.ok(JSON.parse(metadata.annotations[`${NAME}/status`]));
});

test('a pod may ask by its label, in every namespace', cannot, async () => {
  const { spec } = await stored(pod('by-label', {}, { namespace: 'default', labels: { [`${NAME}/inject`]: 'true' } }));
  assert.ok(named(spec.containers, NAME));
});

test('a pod that does not ask is stored as it is', cannot, async () => {
  const plain = await stored(pod('plain', {}));
  // No webhook looks at pods of the injector's own namespace.
  const elsewhere = await stored(pod('plain', {}, { namespace: NAMESPACE }));
  assert.deepEqual(plain.spec, elsewhere.spec);
  assert.deepEqual(plain.metadata.annotations, elsewhere.metadata.annotations);
});

test('whoever makes a pod with wrong annotations reads all that is wrong with them', cannot, async () => {
  const wrong = pod('wrong', { inject: 'true', port: '80', mode: 'sideways', upstream: 'ftp://example.com', scope: 'x' });
  const { code, stderr } = await kube.create(wrong);
  assert.notEqual(code, 0);
  for (const name of ['port', 'mode', 'upstream', 'scope']) {
    assert.match(stderr, new RegExp(`${NAME}/${name}\\b`), stderr);
  }
  assert.match(stderr, /did you mean itwin-auth-proxy\/scopes/);
  assert.equal((await kube.kubectl(['get', 'pod', 'wrong', '-n', 'agents'])).code, 1);
});

test('whatever can be asked for, the API server takes what is made of it', cannot, async (t) => {
  const wishes = {
    'another port': { port: '18080', 'admin-port': '19901' },
    'an upstream of its own': { upstream: 'https://imodels.example.com', environment: 'qa' },
    'a Secret and an image of its own': { 'credential-secret': 'other', image: 'registry.example.com/proxy:2' },
    'a configuration': { config: 'own-config' },
    'a workload identity': { 'workload-identity': 'https://ims.bentley.com', 'client-id': 'service-a' },
    'all resources': { 'cpu-request': '20m', 'cpu-limit': '1', 'memory-request': '24Mi', 'memory-limit': '1Gi' },
    'containers and variables': { containers: 'agent', 'url-variables': 'IMODELS_URL,ITWIN_URL' },
    'a forward proxy': { mode: 'forward', 'no-proxy': 'example.com,.internal' },
    'redirected connections': { mode: 'transparent' },
    'redirected connections, by a configuration': { mode: 'transparent', config: 'own-config' },
  };
  for (const [what, annotations] of Object.entries(wishes)) {
    await t.test(what, async () => {
      const { spec } = await stored(pod('any', { inject: 'true', ...annotations }), ['--dry-run=server']);
      assert.ok(named(spec.containers, NAME) ?? named(spec.initContainers, NAME));
    });
  }
});

test('what only an API server can see in a pod that asks is refused by it', cannot, async () => {
  const containers = [{ ...AGENT, volumeMounts: [{ name: 'nowhere', mountPath: '/data' }] }];
  const { code, stderr } = await kube.create(pod('wrong-mount', { inject: 'true' }, { spec: { containers } }), ['--dry-run=server']);
  assert.equal(code, 1);
  assert.match(stderr, /volumeMounts\[0\]\.name: Not found: "nowhere"/);
});

test('a pod made anew of what is stored is the same', cannot, async () => {
  const once = await stored(pod('once', { inject: 'true', mode: 'transparent' }));
  const { annotations, namespace } = once.metadata;
  const again = await stored({ ...once, metadata: { name: 'again', namespace, annotations }, status: undefined });
  assert.deepEqual(again.spec, once.spec);
  assert.deepEqual(again.metadata.annotations, annotations);
});

test('a container that another webhook adds later is told of the proxy, too', cannot, async (t) => {
  const { ca, cert, key } = certificate(['localhost']);
  for (const [entry, text] of Object.entries({ 'meddler.crt': cert, 'meddler.key': key })) writeFileSync(kube.file(entry), text);
  const script = path.join(import.meta.dirname, 'support/meddler.js');
  const meddler = kube.host.start(process.execPath, [script, '9443', kube.file('meddler.crt'), kube.file('meddler.key')]);
  t.after(() => meddler.stop());
  await meddler.line((line) => line === 'listening');
  await kube.apply({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    // They are called in the order of their names.
    metadata: { name: 'zz-meddler' },
    webhooks: [{
      name: 'meddler.example.com',
      clientConfig: { url: 'https://localhost:9443/', caBundle: Buffer.from(ca).toString('base64') },
      rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }],
      objectSelector: { matchLabels: { meddle: 'true' } },
      admissionReviewVersions: ['v1'],
      sideEffects: 'None',
    }],
  });
  const meddled = pod('meddled', { inject: 'true' }, { labels: { meddle: 'true' } });
  // A configuration is heard of after a moment.
  const { spec } = await until('the other webhook is called', async () => {
    const made = await stored(meddled, ['--dry-run=server']);
    return named(made.spec.containers, 'late') && made;
  });
  assert.equal(named(named(spec.containers, 'late').env, 'ITWIN_AUTH_PROXY_URL')?.value, 'http://127.0.0.1:8080');
  assert.deepEqual(spec.containers.map(({ name }) => name).sort(), ['agent', 'late', NAME].sort());
  await kube.succeed(['delete', 'mutatingwebhookconfiguration', 'zz-meddler']);
});

test('the manifests for those without Helm are what an API server takes', cannot, async (t) => {
  // What this one has not heard of.
  const newer = ['policy/v1 PodDisruptionBudget', 'autoscaling/v2 HorizontalPodAutoscaler'];
  const home = path.join(import.meta.dirname, '../../deploy/kubernetes');
  for (const file of readdirSync(home).filter((entry) => entry.endsWith('.yaml'))) {
    await t.test(file, async () => {
      const objects = parseAllDocuments(readFileSync(path.join(home, file), 'utf8')).map((document) => document.toJS()).filter(Boolean);
      const known = objects.filter(({ apiVersion, kind }) => !newer.includes(`${apiVersion} ${kind}`)).map(older);
      for (const namespace of new Set(known.map(({ metadata }) => metadata.namespace).filter(Boolean))) {
        await kube.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
      }
      const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: known });
      const { code, stdout, stderr } = await kube.kubectl(['apply', '--dry-run=server', '-f', '-'], { input });
      assert.equal(code, 0, stderr);
      assert.equal(stdout.trim().split('\n').length, known.length);
    });
  }
});

/** A manifest in the words of this API server: sidecars are containers, selectors are all there is. */
function older(object) {
  for (const webhook of object.webhooks ?? []) delete webhook.matchConditions;
  const spec = object.spec?.template?.spec ?? object.spec?.jobTemplate?.spec.template.spec;
  for (const sidecar of (spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always')) {
    const { restartPolicy, ...container } = sidecar;
    spec.initContainers = spec.initContainers.filter((one) => one !== sidecar);
    spec.containers.unshift(container);
  }
  return object;
}

test('while the certificate is replaced, no pod is held up', { ...cannot, timeout: 240_000 }, async () => {
  const before = await kept();
  // One that ends soon takes its place, as after two months; what is served is trusted as it was.
  const service = `${NAME}.${NAMESPACE}`;
  const soon = certificate([`${service}.svc`, `${service}.svc.cluster.local`, service], 20);
  const stringData = { 'tls.crt': soon.cert, 'tls.key': soon.key, 'ca.crt': soon.ca + before.authorities };
  await kube.succeed(['patch', 'secret', `${NAME}-tls`, '-n', NAMESPACE, '--type=merge', '-p', JSON.stringify({ stringData })]);

  const replaced = async () => {
    const now = await Promise.all(PODS.map(served));
    return now.every((one) => one === now[0] && !before.certificate.startsWith(one) && !soon.cert.startsWith(one));
  };
  let made = 0;
  const end = Date.now() + 200_000;
  while (!(await replaced())) {
    assert.ok(Date.now() < end, 'the certificate was not replaced');
    await stored(pod('meanwhile', { inject: 'true' }), ['--dry-run=server']);
    made += 1;
  }
  assert.ok(made > 10, `${made} pods`);
  const after = await kept();
  assert.ok(after.authorities.includes(before.authorities), 'the authority before is trusted still');
  for (const bundle of after.bundles) assert.equal(Buffer.from(bundle, 'base64').toString(), after.authorities);
  await stored(pod('after', { inject: 'true' }), ['--dry-run=server']);
});

test('without the injector, pods that do not ask are made all the same', cannot, async (t) => {
  await Promise.all(webhook.replicas.map((replica) => replica.stop()));
  t.after(async () => {
    webhook.replicas = await Promise.all(webhook.replicas.map(({ address }) => webhook.start(address)));
  });
  const namespace = 'default';
  assert.ok(await stored(pod('alone', {}, { namespace })));
  // In a namespace where annotations count, they are looked at, but not at any price.
  assert.ok(await stored(pod('alone', {})));
  // A pod that asked does not start without what it asked for.
  const { code, stderr } = await kube.create(pod('asks-alone', {}, { namespace, labels: { [`${NAME}/inject`]: 'true' } }));
  assert.equal(code, 1);
  assert.match(stderr, /failed calling webhook "label\.inject\.itwin-auth-proxy"/);
});

test('and afterwards it is asked again', cannot, async () => {
  const { spec } = await stored(pod('afterwards', { inject: 'true' }));
  assert.ok(named(spec.containers, NAME));
});

test('an upgrade with Helm leaves the API server its trust, and its end leaves nothing', cannot, async () => {
  const before = await kept();
  const release = [NAME, webhook.chart, '--namespace', NAMESPACE, '--reuse-values', '--set'];
  // The release was made by Helm 4.
  for (const [version, seconds] of [[4, 7], [3, 9]]) {
    await kube.helm(['upgrade', ...release, `injector.timeoutSeconds=${seconds}`], { version });
    const { webhooks } = await kube.get('mutatingwebhookconfiguration', NAME);
    assert.deepEqual(webhooks.map(({ timeoutSeconds }) => timeoutSeconds), [seconds, seconds]);
    assert.deepEqual(await kept(), before);
  }
  await kube.helm(['uninstall', NAME, '--namespace', NAMESPACE]);
  const kinds = 'mutatingwebhookconfigurations,clusterroles,clusterrolebindings,roles,rolebindings,secrets,configmaps,deployments,services,serviceaccounts,networkpolicies';
  const left = await kube.succeed(['get', kinds, '-A', '-l', `app.kubernetes.io/instance=${NAME}`, '-o', 'name']);
  assert.equal(left, '');
  const { spec } = await stored(pod('without', { inject: 'true' }));
  assert.equal(named(spec.containers, NAME), undefined);
});
