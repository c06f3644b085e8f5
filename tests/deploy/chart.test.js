// The chart, rendered by Helm 3 and Helm 4: what it makes is valid in every version of Kubernetes that it is
// for, hangs together, and is a configuration that the program takes. Needs no network.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { parse as parseYaml } from 'yaml';

import { CHART, EXAMPLE, HELMS, ROOT, directory, objects, parse, run, template, validate, versions } from './support/helm.js';
import { readme, values } from './support/chart-readme.js';
import { fast } from './support/level.js';
import { containers as containersOf, kind, one, podOf, proxy, sound } from './support/rules.js';

const PROGRAM = process.env.ITWIN_AUTH_PROXY;
const KUBERNETES = versions();
const NEWEST = `${KUBERNETES.at(-1)}.0`;
const PEM = '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n';

/** What a chart that depends on this one sets. */
const beside = (values = {}, own = {}) => ({ ...own, 'itwin-auth-proxy': { mode: 'sidecar', ...values } });

const ownFile = (bind, admit) => ({
  config: {
    providers: { keycloak: { issuer: 'https://sso.example.com/realms/a' } },
    credentials: { reports: { provider: 'keycloak', client_id: 'reports', client_secret_file: '/run/secrets/reports/secret', scopes: ['reports'] } },
    listeners: [{ bind }],
    routes: [{ inject: 'reports', upstream: 'https://reports.example.com', admit }],
    limits: { requests: 500 },
  },
  secrets: ['reports'],
});
const OWN_FILE = ownFile('0.0.0.0:8080', [{ networks: ['10.0.0.0/8'] }]);

// Values by what somebody wants, for each way of use.
const CASES = {
  'a gateway': {},
  'a gateway with TLS': { tls: { existingSecret: 'gateway-tls' } },
  'a gateway for QA, other scopes and an upstream': { environment: 'qa', scopes: ['a:read', 'b:write'], upstream: 'https://hub.example.com' },
  'a gateway whose client is named': { client: { id: 'service-a1', secretKey: 'itwin.txt' } },
  'a gateway with a CSI volume': { client: { from: 'csi', id: 'service-a1', csi: { secretProviderClass: 'itwin' } } },
  'a gateway with workload identity': { client: { from: 'workloadIdentity', id: 'service-a1', workloadIdentity: { audience: 'https://ims.bentley.com' } } },
  'a gateway for networks': { callers: { existingSecret: '', networks: ['10.0.0.0/8', 'fd00::/8'] } },
  'a gateway for a key and networks': { callers: { networks: ['10.0.0.0/8'] } },
  'a gateway that grows': { autoscaling: { enabled: true, maxReplicas: 9 } },
  'a gateway that is watched': { serviceMonitor: { enabled: true, labels: { release: 'prometheus' } }, prometheusRule: { enabled: true } },
  'a gateway with a file of its own': OWN_FILE,
  'a gateway in an IPv6 cluster, on other ports': { bindAddress: '[::]', port: 8443, adminPort: 9000, service: { type: 'LoadBalancer', annotations: { internal: 'true' } } },
  'a gateway with nothing that can be left out': {
    podDisruptionBudget: { enabled: false }, networkPolicy: { enabled: false }, serviceAccount: { create: false }, topologySpread: [], workers: 0, replicas: 1,
  },
  'a gateway with everything of the cluster\'s': {
    image: { repository: 'registry.example.com/itwin-auth-proxy', digest: `sha256:${'0'.repeat(64)}` },
    imagePullSecrets: [{ name: 'registry' }], priorityClassName: 'high', nodeSelector: { disk: 'ssd' },
    tolerations: [{ key: 'a', operator: 'Exists' }], affinity: { nodeAffinity: {} }, podLabels: { team: 'a' }, podAnnotations: { note: 'b' },
    extraEnv: [{ name: 'ITWIN_AUTH_PROXY__LIMITS__REQUESTS', value: '300' }],
    extraVolumes: [{ name: 'ca', configMap: { name: 'ca' } }], extraVolumeMounts: [{ name: 'ca', mountPath: '/etc/ca' }],
    extraObjects: [{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'ca', namespace: '{{ .Release.Namespace }}' }, data: { 'ca.crt': 'x' } }],
    serviceAccount: { annotations: { 'azure.workload.identity/client-id': 'x' } },
    drain: { delaySeconds: 10, timeoutSeconds: 110 },
    networkPolicy: { from: [{ namespaceSelector: { matchLabels: { team: 'a' } } }], monitoring: [], egress: [{ ports: [{ port: 8443 }] }] },
  },
  'an injector': { mode: 'injector' },
  'an injector that gives way': { mode: 'injector', injector: { failurePolicy: 'Ignore', timeoutSeconds: 5, excludedNamespaces: ['kube-system', 'ci'], namespaceSelector: { matchLabels: { team: 'a' }, matchExpressions: [{ key: 'b', operator: 'Exists' }] } } },
  'an injector with cert-manager': { mode: 'injector', injector: { certificate: { from: 'certManager' } } },
  'an injector with an issuer of cert-manager': { mode: 'injector', injector: { certificate: { from: 'certManager', issuerRef: { kind: 'ClusterIssuer', name: 'company' } } } },
  'an injector with a certificate of one\'s own': { mode: 'injector', sidecar: { native: 'never' }, injector: { certificate: { from: 'secret', existingSecret: 'injector-tls', caBundle: PEM } } },
  'an injector for agents that know nothing': { mode: 'injector', environment: 'qa', upstream: 'https://hub.example.com', bindAddress: '[::]', sidecar: { port: 18080, adminPort: 19901, resources: { limits: { cpu: '1' } } }, injector: { mode: 'transparent', urlVariables: ['IMODELS_URL'], noProxy: ['.example.com'] } },
  'an injector with a Secret whose name YAML takes for something else': { mode: 'injector', injector: { credentialSecret: 'true' } },
  'an injector that is watched': { mode: 'injector', serviceMonitor: { enabled: true }, prometheusRule: { enabled: true } },
  'a sidecar': beside(),
  'a sidecar of a Job': beside({}, { job: true }),
  'a sidecar in an old cluster': beside({ sidecar: { native: 'never', allowQuit: true } }, { job: true }),
  'a sidecar with a CSI volume': beside({ client: { from: 'csi', id: 'service-a1', csi: { secretProviderClass: 'itwin' } } }),
  'a sidecar with workload identity': beside({ client: { from: 'workloadIdentity', id: 'service-a1', workloadIdentity: { audience: 'https://ims.bentley.com' } } }),
  'a sidecar with a file of its own': beside(ownFile('127.0.0.1:8080', 'local')),
  'a sidecar on other ports, with an upstream': beside({ sidecar: { port: 18080, adminPort: 19901, workers: 4 }, upstream: 'https://hub.example.com', environment: 'qa' }),
};

const chartOf = (values) => ('itwin-auth-proxy' in values ? EXAMPLE : CHART);
const options = (values, kubernetes = NEWEST) => ({ chart: chartOf(values), values, kubernetes });
const known = ({ apiVersion }) => !/cert-manager|monitoring\.coreos/.test(apiVersion);

// What an object of a custom resource may have, as far as the chart uses it.
const CUSTOM = {
  ServiceMonitor: ['endpoints', 'selector'],
  PrometheusRule: ['groups'],
  Issuer: ['ca', 'selfSigned'],
  Certificate: ['commonName', 'dnsNames', 'duration', 'isCA', 'issuerRef', 'privateKey', 'secretName', 'usages'],
};

const rendered = Object.fromEntries(Object.entries(CASES).map(([name, values]) => [name, objects('Helm 4', options(values))]));

for (const helm of Object.keys(HELMS)) {
  fast(`${helm} finds nothing to say against the chart`, () => {
    const { status, stdout, stderr } = run(HELMS[helm], ['lint', '--strict', CHART]);
    assert.equal(status, 0, stdout + stderr);
  });
}

fast('Helm 3 and Helm 4 make the same of all values', () => {
  // in which order is their own affair
  const sorted = (made) => made.toSorted((a, b) => (a.kind + a.metadata.name < b.kind + b.metadata.name ? -1 : 1));
  for (const [name, values] of Object.entries(CASES)) {
    assert.deepEqual(sorted(objects('Helm 3', options(values))), sorted(rendered[name]), name);
  }
});

fast('each way is valid in every version of Kubernetes', () => {
  const items = [];
  const add = (name, version, made) => made.filter(known).forEach((object) => items.push({ case: name, version, object }));
  for (const [name, made] of Object.entries(rendered)) add(name, KUBERNETES.at(-1), made);
  for (const version of KUBERNETES) {
    for (const name of ['a gateway that grows', 'an injector', 'a sidecar', 'a sidecar of a Job']) {
      add(name, version, objects('Helm 4', options(CASES[name], `${version}.0`)));
    }
  }
  assert.ok(items.length > 300, `${items.length} objects`);
  assert.deepEqual(validate(items), []);
});

fast('custom resources have what the chart means to give them', () => {
  const made = Object.values(rendered).flat().filter((object) => !known(object));
  assert.deepEqual([...new Set(made.map(({ kind }) => kind))].sort(), Object.keys(CUSTOM).sort());
  for (const { kind, spec } of made) {
    for (const key of Object.keys(spec)) assert.ok(CUSTOM[kind].includes(key), `${kind}: ${key}`);
  }
});

for (const [name, made] of Object.entries(rendered)) {
  fast(`${name} hangs together, and its pods pass the level "restricted"`, () => {
    sound(made, name, chartOf(CASES[name]) === CHART ? 'itwin' : undefined);
  });
}

/** The environment of the proxy's container, with what Secrets would give. */
function environment(pod) {
  const variables = (proxy(pod).env ?? []).map(({ name, value, valueFrom }) => [name, value ?? `the-${valueFrom.secretKeyRef.key}`]);
  return Object.fromEntries(variables);
}

/** Puts files where the proxy's mounts have them, but below a directory. */
function secretFiles(pod, home, certificate) {
  const volumes = Object.fromEntries(pod.spec.volumes.map((volume) => [volume.name, volume]));
  for (const { name, mountPath } of proxy(pod).volumeMounts) {
    const { secret, csi, projected } = volumes[name];
    if (!secret && !csi && !projected) continue;
    mkdirSync(path.join(home, mountPath), { recursive: true });
    const put = (file, text) => {
      writeFileSync(path.join(home, mountPath, file), text, { mode: 0o600 });
    };
    if (name === 'tls') ['crt', 'key'].forEach((kind) => put(`tls.${kind}`, readFileSync(certificate[kind])));
    else {
      const named = secret?.items?.map(({ path }) => path) ?? projected?.sources.map(({ serviceAccountToken }) => serviceAccountToken.path);
      for (const file of named ?? ['client-secret', 'key', 'secret']) put(file, 'a-secret-of-some-length');
    }
  }
}

const certificate = (() => {
  const home = directory();
  const [crt, key] = ['crt', 'key'].map((end) => path.join(home, `tls.${end}`));
  const made = run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=x', '-addext', 'subjectAltName=DNS:x', '-days', '2', '-keyout', key, '-out', crt]);
  assert.equal(made.status, 0, made.stderr);
  return { crt, key };
})();

for (const [name, made] of Object.entries(rendered)) {
  if (CASES[name].mode === 'injector') continue;
  fast(`${name} is a configuration that the program takes`, () => {
    assert.ok(PROGRAM, 'ITWIN_AUTH_PROXY names the program');
    const pod = podOf(made.find(podOf));
    const home = directory();
    secretFiles(pod, home, certificate);
    const moved = (text) => text.replaceAll('/run/secrets/', `${home}/run/secrets/`);
    const env = Object.fromEntries(Object.entries(environment(pod)).map(([key, value]) => [key, moved(value)]));
    const mounted = proxy(pod).volumeMounts.find(({ mountPath }) => mountPath === '/etc/itwin-auth-proxy');
    const args = ['check', '--print'];
    if (mounted) {
      const file = path.join(home, 'config.yaml');
      const { configMap } = pod.spec.volumes.find(({ name }) => name === mounted.name);
      const map = kind(made, 'ConfigMap').find(({ metadata }) => metadata.name === configMap.name);
      writeFileSync(file, moved(map.data['config.yaml']));
      args.push('--config', file);
      delete env.ITWIN_CONFIG;
    }
    const { status, stdout, stderr } = run(PROGRAM, args, { env: { PATH: process.env.PATH, ...env } });
    assert.equal(status, 0, stderr);
    // the one thing that it does say, of callers' keys without TLS
    const keyInTheClear = !CASES[name].tls && proxy(pod).volumeMounts.some(({ name }) => name === 'callers');
    if (keyInTheClear) assert.match(stderr, /^warning: \S+: the key passes over the network unencrypted\n.*\n.*give the listener tls\n$/);
    else assert.equal(stderr, '');
    const taken = parseYaml(stdout);
    const seconds = (text) => [...text.matchAll(/(\d+)(s|m)/g)].reduce((sum, [, n, unit]) => sum + n * { s: 1, m: 60 }[unit], 0);
    const grace = pod.spec.terminationGracePeriodSeconds ?? 30;
    assert.ok(seconds(taken.limits.drain_delay) + seconds(taken.limits.drain_timeout) < grace, 'the grace period is too short');
    // whoever may call a gateway is the service
    if (proxy(pod).ports) assert.ok(Array.isArray(taken.routes[0].admit) && taken.routes[0].admit.length > 0);
    const ports = proxy(pod).ports;
    const port = (address) => Number(address.match(/:(\d+)$/)[1]);
    if (ports) {
      assert.deepEqual(ports.map(({ containerPort }) => containerPort), [port(taken.listeners[0].bind), port(taken.admin.bind)]);
    } else {
      const urls = containersOf(pod).flatMap(({ env }) => env ?? []).filter(({ name }) => name === 'ITWIN_AUTH_PROXY_URL');
      if (!CASES[name]['itwin-auth-proxy'].config) assert.deepEqual(urls.map(({ value }) => value), [`http://${taken.listeners[0].bind}`]);
    }
  });
}

for (const [name, made] of Object.entries(rendered)) {
  if (CASES[name].mode !== 'injector') continue;
  fast(`${name} is a configuration that the program takes`, () => {
    const pod = podOf(one(made, 'Deployment'));
    const home = directory();
    secretFiles(pod, home, certificate);
    const file = path.join(home, 'injector.yaml');
    const text = one(made, 'ConfigMap').data['injector.yaml'];
    writeFileSync(file, text.replaceAll('/run/secrets/', `${home}/run/secrets/`));
    const { status, stderr } = run(PROGRAM, ['inject', '--check', '--config', file], { env: { PATH: process.env.PATH } });
    assert.equal(status, 0, stderr);
    assert.doesNotMatch(stderr, /warning/);
    const { bind, admin, certificate: { managed } } = parseYaml(text);
    const port = (address) => Number(address.match(/:(\d+)$/)[1]);
    assert.deepEqual(proxy(pod).ports.map(({ containerPort }) => containerPort), [port(bind), port(admin)]);
    if (managed) {
      const there = (kind, name) => assert.ok(made.some((object) => object.kind === kind && object.metadata.name === name && object.metadata.namespace === (kind.startsWith('Mutating') ? undefined : managed.namespace)), `${kind} ${name}`);
      there('Secret', managed.secret);
      there('Service', managed.service);
      there('MutatingWebhookConfiguration', managed.webhook);
    }
  });
}

fast('a sidecar starts before the agent and ends after it, where the cluster can do that', () => {
  for (const kubernetes of ['1.28.0', '1.29.0']) {
    const { spec } = podOf(one(objects('Helm 4', options(CASES['a sidecar'], kubernetes)), 'Deployment'));
    const ours = proxy({ spec });
    if (kubernetes === '1.29.0') {
      assert.equal(spec.initContainers[0], ours);
      assert.equal(ours.restartPolicy, 'Always');
      assert.deepEqual(ours.startupProbe.exec.command, ['/usr/local/bin/itwin-auth-proxy', 'probe']);
    } else {
      assert.equal(spec.initContainers, undefined);
      assert.equal(spec.containers[0], ours);
      assert.deepEqual(ours.lifecycle.postStart.exec.command.slice(0, 2), ['/usr/local/bin/itwin-auth-proxy', 'wait']);
    }
  }
});

fast('another configuration makes other pods', () => {
  const sum = (made) => podOf(one(made, 'Deployment')).metadata.annotations['checksum/config'];
  const gateways = ['a gateway', 'a gateway for QA, other scopes and an upstream', 'a gateway with a file of its own', 'an injector'];
  assert.equal(new Set(gateways.map((name) => sum(rendered[name]))).size, gateways.length);
  const beside = podOf(one(rendered['a sidecar with a file of its own'], 'Deployment')).metadata.annotations;
  assert.match(beside['checksum/itwin-auth-proxy'], /^[0-9a-f]{64}$/);
  assert.equal(podOf(one(rendered['a sidecar'], 'Deployment')).metadata.annotations, undefined);
});

// Would the API server send this pod, in a namespace with these labels, and by which webhook?
function sent(configuration, pod, namespace) {
  const holds = ({ key, operator, values }, labels) =>
    ({ Exists: key in labels, DoesNotExist: !(key in labels), In: values?.includes(labels[key]), NotIn: !values?.includes(labels[key]) })[operator];
  const selects = ({ matchLabels = {}, matchExpressions = [] } = {}, labels) =>
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) && matchExpressions.every((expression) => holds(expression, labels));
  // what is used of CEL is JavaScript, but for has()
  const condition = ({ expression }) => new Function('object', 'has', `return ${expression}`)(pod, (value) => value !== undefined);
  return configuration.webhooks
    .filter(({ objectSelector, namespaceSelector }) => selects(objectSelector, pod.metadata.labels ?? {}) && selects(namespaceSelector, namespace))
    .filter(({ matchConditions = [] }) => matchConditions.every(condition))
    .map(({ name, failurePolicy }) => `${name.split('.')[0]}: ${failurePolicy}`);
}

const ASK = 'itwin-auth-proxy/inject';
const named = (name, labels = {}) => ({ 'kubernetes.io/metadata.name': name, ...labels });
const WHO_IS_SENT = [
  ['nothing', {}, named('apps'), [], []],
  ['other labels and annotations', { labels: { app: 'a' }, annotations: { b: 'c' } }, named('apps'), [], []],
  ['a label that asks', { labels: { [ASK]: 'true' } }, named('apps'), ['label: Fail'], ['label: Fail']],
  ['a label that is a mistake', { labels: { [ASK]: 'yes' } }, named('apps'), ['label: Fail'], ['label: Fail']],
  ['a label that declines', { labels: { [ASK]: 'false' } }, named('apps'), [], []],
  ['a label that declines and an annotation that asks', { labels: { [ASK]: 'false' }, annotations: { [ASK]: 'true' } }, named('apps'), ['annotation: Fail'], []],
  ['an annotation that asks', { annotations: { [ASK]: 'true' } }, named('apps'), ['annotation: Fail'], []],
  ['an annotation that declines', { annotations: { [ASK]: 'false' } }, named('apps'), [], []],
  ['both', { labels: { [ASK]: 'true' }, annotations: { [ASK]: 'true' } }, named('apps'), ['label: Fail'], ['label: Fail']],
  ['an annotation where the namespace agrees', { annotations: { [ASK]: 'true' } }, named('apps', { 'itwin-auth-proxy/injection': 'enabled' }), ['annotation: Fail'], ['annotation: Ignore']],
  ['nothing where the namespace agrees', {}, named('apps', { 'itwin-auth-proxy/injection': 'enabled' }), [], ['annotation: Ignore']],
  ['a label in kube-system', { labels: { [ASK]: 'true' }, annotations: { [ASK]: 'true' } }, named('kube-system'), [], []],
  ['a label in the injector\'s own namespace', { labels: { [ASK]: 'true' } }, named('itwin'), [], []],
];

fast('only pods that ask depend on the injector', () => {
  const today = one(rendered['an injector'], 'MutatingWebhookConfiguration');
  const old = one(objects('Helm 4', options(CASES['an injector'], '1.29.0')), 'MutatingWebhookConfiguration');
  for (const [what, metadata, namespace, now, before] of WHO_IS_SENT) {
    assert.deepEqual(sent(today, { metadata }, namespace), now, what);
    assert.deepEqual(sent(old, { metadata }, namespace), before, `${what}, before 1.30`);
  }
  for (const webhook of today.webhooks) {
    assert.equal(webhook.sideEffects, 'None');
    assert.equal(webhook.reinvocationPolicy, 'IfNeeded');
    assert.deepEqual(webhook.rules, [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], scope: 'Namespaced' }]);
  }
});

fast('the injector may do two things, and nothing where its certificate comes from others', () => {
  const may = (made) => made.flatMap(({ kind, rules }) => (kind.endsWith('Role') ? rules : []));
  assert.deepEqual(may(rendered['an injector']), [
    { apiGroups: ['admissionregistration.k8s.io'], resources: ['mutatingwebhookconfigurations'], resourceNames: ['agents-itwin-auth-proxy'], verbs: ['get', 'patch'] },
    { apiGroups: [''], resources: ['secrets'], resourceNames: ['agents-itwin-auth-proxy-tls'], verbs: ['get', 'update'] },
  ]);
  for (const [name, made] of Object.entries(rendered)) {
    const managed = CASES[name].mode === 'injector' && !CASES[name].injector?.certificate;
    assert.deepEqual(may(made), managed ? may(rendered['an injector']) : [], name);
  }
  const token = (name) => podOf(one(rendered[name], 'Deployment')).spec.automountServiceAccountToken;
  assert.equal(token('an injector with a certificate of one\'s own'), false);
  assert.equal(token('a gateway'), false);
});

fast('alerts ask for metrics that there are', () => {
  const page = readFileSync(path.join(ROOT, 'docs/metrics.md'), 'utf8');
  const errors = readFileSync(path.join(ROOT, 'docs/troubleshooting.md'), 'utf8');
  const known = [...page.matchAll(/^\| (`.+?`) \| (\w+) \|/gm)].flatMap(([, names, type]) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name]) => `itwin_auth_proxy_${name}${type === 'counter' ? '_total' : ''}`));
  for (const way of ['a gateway that is watched', 'an injector that is watched']) {
    const { groups } = one(rendered[way], 'PrometheusRule').spec;
    const job = `${one(rendered[way], 'ServiceMonitor').metadata.name}-admin`;
    assert.ok(groups[0].rules.length > 3);
    for (const { alert, expr } of groups[0].rules) {
      for (const [name] of expr.matchAll(/itwin_auth_proxy_\w+/g)) assert.ok(known.includes(name), `${alert}: ${name}`);
      assert.ok(expr.includes(`job="${job}"`), alert);
      for (const [, codes] of expr.matchAll(/code=~"([^"]+)"/g)) {
        for (const code of codes.split('|')) assert.match(errors, new RegExp(`^### ${code}$`, 'm'), alert);
      }
    }
  }
});

// What is said about values that are wrong: the value's name, and all of them at once.
const WRONG = [
  [{ mode: 'sidecart' }, ['mode']],
  [{ replica: 2 }, ['replica']],
  [{ replicas: 'two' }, ['replicas']],
  [{ port: 80 }, ['port']],
  [{ client: { form: 'csi' } }, ['client', 'form']],
  [{ client: { from: 'vault' } }, ['client', 'from']],
  [{ client: { existingSecret: 'Itwin_Client' } }, ['client', 'existingSecret']],
  [{ scopes: [] }, ['scopes']],
  [{ scopes: ['a b'] }, ['scopes']],
  [{ environment: 'prod' }, ['environment']],
  [{ upstream: 'api.bentley.com' }, ['upstream']],
  [{ upstream: 'https://api.bentley.com/imodels' }, ['upstream']],
  [{ callers: { networks: ['10.0.0.1'] } }, ['callers', 'networks']],
  [{ image: { digest: 'sha256:1' } }, ['image', 'digest']],
  [{ drain: { timeoutSeconds: '25s' } }, ['drain', 'timeoutSeconds']],
  [{ resources: { request: {} } }, ['resources', 'request']],
  [{ serviceMonitor: { interval: 30 } }, ['serviceMonitor', 'interval']],
  [{ injector: { failurePolicy: 'fail' } }, ['injector', 'failurePolicy']],
  [{ injector: { timeoutSeconds: 60 } }, ['injector', 'timeoutSeconds']],
  [{ sidecar: { native: true } }, ['sidecar', 'native']],
  [{ sidecar: { resources: { limits: { memory: '64MB' } } } }, ['sidecar', 'memory']],
  [{ client: { from: 'csi' } }, ['client.id: is missing', 'client.csi.secretProviderClass: is missing']],
  [{ client: { from: 'workloadIdentity' } }, ['client.id: is missing', 'client.workloadIdentity.audience: is missing']],
  [{ client: { existingSecret: '' } }, ['client.existingSecret: is missing']],
  [{ callers: { existingSecret: '' }, adminPort: 8080 }, ['callers.existingSecret: is missing', 'adminPort: is the same as port']],
  [{ autoscaling: { enabled: true, minReplicas: 7 } }, ['autoscaling.minReplicas: is more']],
  [{ prometheusRule: { enabled: true } }, ['prometheusRule.enabled: needs serviceMonitor.enabled']],
  [{ config: { listeners: ['127.0.0.1:9000'], limits: { drain_delay: '1s' }, admin: { bind: '0.0.0.0:1', key: 'hunter2' } } },
    ['config.listeners: none is bound to port 8080', 'config.limits.drain_delay: comes from drain', 'config.admin.bind: comes from', 'config.admin.key: a secret must not be in a ConfigMap']],
  [{ config: { credentials: { a: { client_secret: 'hunter2' } }, listeners: [{ bind: '0.0.0.0:8080' }], routes: [{ admit: [{ key: { secret: 'hunter2' } }] }] } },
    ['config.credentials.a.client_secret: a secret must not', 'config.routes[0].admit[0].key.secret: a secret must not']],
  [{ mode: 'injector', autoscaling: { enabled: true } }, ['autoscaling.enabled: is for the gateway']],
  [{ mode: 'injector', injector: { certificate: { from: 'secret' } } }, ['injector.certificate.existingSecret: is missing', 'injector.certificate.caBundle: is missing']],
  [{ mode: 'injector', adminPort: 8443 }, ['adminPort: 8443 is']],
  [beside({ client: { from: 'csi' } }), ['client.id: is missing', 'client.csi.secretProviderClass']],
  [beside({ sidecar: { adminPort: 8080 } }), ['sidecar.adminPort: is the same']],
  [beside({ sidcar: {} }), ['sidcar']],
  [beside({ config: { log: { level: 'info' } } }), ['config replaces all that the values would make, so it needs listeners, routes and credentials']],
  [beside({ config: { listeners: ['127.0.0.1:9000'] } }), ['config.listeners: none is bound to port 8080']],
];

for (const helm of Object.keys(HELMS)) {
  fast(`${helm} names each value that is wrong, and no secret that is among them`, () => {
    for (const [values, said] of WRONG) {
      const { status, stderr } = template(helm, options(values));
      assert.notEqual(status, 0, JSON.stringify(values));
      for (const words of said) assert.ok(stderr.includes(words), `${JSON.stringify(values)}: ${stderr}`);
      assert.ok(!stderr.includes('hunter2'), stderr);
    }
  });
}

fast('what is said after an installation can be followed', () => {
  const notes = (values) => {
    const { status, stdout, stderr } = run(HELMS['Helm 4'], ['install', 'agents', CHART, '-n', 'itwin', '--dry-run=client', '-f', '-'], { input: JSON.stringify(values) });
    assert.equal(status, 0, stderr);
    return stdout.split('NOTES:\n')[1];
  };
  assert.match(notes({}), /http:\/\/agents-itwin-auth-proxy\.itwin:8080 .*\n.*itwin-callers.*X-Itwin-Proxy-Key/);
  assert.match(notes({}), /kubectl -n itwin create secret generic itwin-client/);
  assert.match(notes({ tls: { existingSecret: 'a' } }), /https:\/\//);
  assert.match(notes({ mode: 'injector' }), /itwin-auth-proxy\/inject: "true"/);
  assert.ok(notes(OWN_FILE).length > 0);
  assert.match(notes({ mode: 'sidecar' }), /templates/);
});

fast('every value is explained and checked, and nothing else is', () => {
  const schema = JSON.parse(readFileSync(path.join(CHART, 'values.schema.json'), 'utf8'));
  const explained = values();
  assert.deepEqual(explained.filter(({ text }) => !text), []);
  const names = explained.map(({ name }) => name);
  const checked = [];
  const collect = (properties, prefix) => {
    for (const [key, value] of Object.entries(properties)) {
      const name = prefix + key;
      const below = names.some((known) => known.startsWith(`${name}.`));
      if (below) {
        assert.equal(value.additionalProperties, false, name);
        collect(value.properties, `${name}.`);
      } else checked.push(name);
    }
  };
  assert.equal(schema.additionalProperties, false);
  collect(schema.properties, '');
  assert.deepEqual(checked.filter((name) => name !== 'global').sort(), names.toSorted());
});

fast('the chart\'s README has the values as they are', () => {
  assert.equal(readFileSync(path.join(CHART, 'README.md'), 'utf8'), readme(), 'run: node tests/deploy/support/chart-readme.js');
});

fast('the example chart finds what it depends on by itself', () => {
  const home = directory();
  for (const folder of ['helm', 'deploy/kubernetes/example-chart']) cpSync(path.join(ROOT, folder), path.join(home, folder), { recursive: true });
  const chart = path.join(home, 'deploy/kubernetes/example-chart');
  for (const helm of Object.keys(HELMS)) {
    const built = run(HELMS[helm], ['dependency', 'update', chart], { env: { ...process.env, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home } });
    assert.equal(built.status, 0, built.stderr);
    assert.deepEqual(objects(helm, { ...options(CASES['a sidecar']), chart }), rendered['a sidecar']);
  }
});

fast('a chart written as the page says it has the sidecar in its pod', () => {
  const page = readFileSync(path.join(ROOT, 'docs/kubernetes.md'), 'utf8');
  const [, metadata, values] = page.match(/# Chart\.yaml\n([^]*?)# values\.yaml\n([^]*?)```/);
  const [, first, pod] = page.match(/# a pod in templates\/, after (.*)\n([^]*?)```/);
  const chart = directory();
  const put = (file, text) => {
    mkdirSync(path.dirname(path.join(chart, file)), { recursive: true });
    writeFileSync(path.join(chart, file), text);
  };
  put('Chart.yaml', `apiVersion: v2\nname: mine\nversion: 0.1.0\n${metadata}`);
  put('values.yaml', values);
  put('templates/pod.yaml', `${first}\napiVersion: v1\nkind: Pod\nmetadata: { name: mine }\n${pod}`);
  cpSync(CHART, path.join(chart, 'charts/itwin-auth-proxy'), { recursive: true });
  for (const helm of Object.keys(HELMS)) {
    const names = (kubernetes) => {
      const made = one(objects(helm, { chart, kubernetes }), 'Pod');
      assert.deepEqual(made.spec.containers.at(-1).env, [{ name: 'ITWIN_AUTH_PROXY_URL', value: 'http://127.0.0.1:8080' }]);
      assert.equal(environment(made).ITWIN_SCOPES, 'imodels:read');
      return [made.spec.initContainers, made.spec.containers].map((list) => (list ?? []).map(({ name }) => name));
    };
    assert.deepEqual(names('1.29.0'), [['itwin-auth-proxy'], ['agent']]);
    assert.deepEqual(names('1.28.0'), [[], ['itwin-auth-proxy', 'agent']]);
  }
});

const PLAIN = path.join(ROOT, 'deploy/kubernetes');
for (const [helm, program] of Object.entries(HELMS)) {
  fast(`the plain manifests are what ${helm} makes of the chart`, () => {
    const into = directory();
    const { status, stderr } = run(path.join(PLAIN, 'generate'), [into], { env: { ...process.env, HELM: program } });
    assert.equal(status, 0, stderr);
    const files = readdirSync(PLAIN).filter((name) => name.endsWith('.yaml'));
    assert.deepEqual(readdirSync(into).sort(), files.sort());
    for (const file of files) {
      const [is, ought] = [PLAIN, into].map((home) => readFileSync(path.join(home, file), 'utf8'));
      if (helm === 'Helm 4') assert.equal(is, ought, `run: deploy/kubernetes/generate`);
      assert.equal(parse(is).length, parse(ought).length, file);
    }
  });
}

fast('the plain manifests hang together and are valid in the versions that they are for', () => {
  const since = { 'sidecar-old-cluster.yaml': '1.25', 'gateway.yaml': '1.25', 'injector.yaml': '1.30' };
  const items = [];
  for (const file of readdirSync(PLAIN).filter((name) => name.endsWith('.yaml'))) {
    const text = readFileSync(path.join(PLAIN, file), 'utf8');
    const made = parse(text);
    sound(made, file);
    assert.ok(!/managed-by|helm\.sh/.test(text), file);
    const from = KUBERNETES.indexOf(since[file] ?? '1.29');
    for (const version of KUBERNETES.slice(from)) made.forEach((object) => items.push({ case: file, version, object }));
  }
  assert.deepEqual(validate(items), []);
});
