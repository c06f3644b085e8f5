// The injector in a cluster: the chart installed with Helm, and its replicas run as their Deployment says,
// each at the address of a pod.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { parse, stringify } from 'yaml';

import { certificate } from './certificates.js';
import { PODS } from './cluster.js';
import { until } from './machine.js';

const ROOT = path.join(import.meta.dirname, '../../..');
export const PROGRAM = process.env.ITWIN_AUTH_PROXY ?? path.join(ROOT, 'target/debug/itwin-auth-proxy');
export const NAMESPACE = 'proxies';
export const NAME = 'itwin-auth-proxy';

/** The chart for an API server older than it is meant for; the templates are what they are. */
export function chart(kube) {
  const copy = kube.file('chart');
  cpSync(path.join(ROOT, 'helm/itwin-auth-proxy'), copy, { recursive: true });
  const file = path.join(copy, 'Chart.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^kubeVersion:.*$/m, 'kubeVersion: ">=1.20.0-0"'));
  return copy;
}

/** What the node would do: the Secrets that a pod mounts, as files on the machine. */
async function mount(kube, pod) {
  for (const { name, mountPath } of pod.containers[0].volumeMounts) {
    const { secret } = pod.volumes.find((volume) => volume.name === name);
    if (!secret) continue;
    const { data } = await kube.get('secret', secret.secretName, { namespace: NAMESPACE });
    await kube.host.run('mkdir', ['-p', mountPath]);
    for (const [key, value] of Object.entries(data ?? {})) {
      const input = Buffer.from(value, 'base64');
      await kube.host.run('sh', ['-c', `cat > ${mountPath}/${key}`], { input });
    }
  }
}

/** Values of the chart for a certificate that is ours, in a Secret of that name. */
export async function ownCertificate(kube, name) {
  const { ca, cert, key } = certificate([`${NAME}.${NAMESPACE}.svc`]);
  await kube.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace: NAMESPACE },
    stringData: { 'tls.crt': cert, 'tls.key': key },
  });
  return { from: 'secret', existingSecret: name, caBundle: ca };
}

/** Installs the chart and starts its replicas. */
export async function injector(kube, { values = {}, replicas = PODS.length } = {}) {
  await kube.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
  const file = kube.file('values.yaml');
  // A PodDisruptionBudget is of an API that this server has not.
  writeFileSync(file, stringify({ mode: 'injector', podDisruptionBudget: { enabled: false }, ...values }));
  const source = chart(kube);
  await kube.helm(['install', NAME, source, '--namespace', NAMESPACE, '--values', file]);
  const found = await kube.get('deployment', NAME, { namespace: NAMESPACE });
  const pod = found.spec.template.spec;
  const { args } = pod.containers[0];
  const map = await kube.get('configmap', NAME, { namespace: NAMESPACE });
  const config = parse(map.data['injector.yaml']);
  const env = await kube.account(pod.serviceAccountName, NAMESPACE);
  await mount(kube, pod);

  const started = [];
  /** Another replica, with a configuration that differs in this. */
  const start = async (address, other = {}) => {
    // All replicas share one network here, which those of a cluster do not.
    const own = kube.file(`injector-${address}.yaml`);
    const bound = (to) => to.replace(/^.*:/, `${address}:`);
    writeFileSync(own, stringify({ ...config, ...other, bind: bound(config.bind), admin: bound(config.admin) }));
    const process = kube.host.start(PROGRAM, args.map((arg) => (arg.startsWith('/') ? own : arg)), { env });
    started.push(process);
    const probe = pod.containers[0].readinessProbe.httpGet.path;
    const url = `http://${bound(config.admin)}${probe}`;
    const ready = async () => (await kube.host.run('curl', ['-sf', '-o', '/dev/null', url])).code === 0;
    const ended = process.exited.then((how) => {
      throw new Error(`the injector ended ${JSON.stringify(how)}: ${process.lines.join('\n')}`);
    });
    ended.catch(() => {});
    await Promise.race([ended, until(`injector at ${address} ready`, ready)]).catch((error) => {
      throw new Error(`${error.message}\n${process.lines.slice(-20).join('\n')}`);
    });
    return Object.assign(process, { address, admin: bound(config.admin) });
  };

  const service = await kube.get('service', NAME, { namespace: NAMESPACE });
  const it = {
    config,
    chart: source,
    account: pod.serviceAccountName,
    replicas: [],
    start,
    /** What the endpoints controller would write of the replicas that are ready. */
    async announce(...addresses) {
      const [{ name }] = service.spec.ports;
      const port = Number(config.bind.split(':').pop());
      await kube.apply({
        apiVersion: 'v1',
        kind: 'Endpoints',
        metadata: { name: NAME, namespace: NAMESPACE },
        subsets: [{ addresses: addresses.map((ip) => ({ ip })), ports: [{ name, port }] }],
      });
    },
    /** Asks a replica as a newer API server would. Answers the pod with its patch applied. */
    async review(address, object) {
      const request = { uid: 'b7b1c5a2-4d0c-4f2e-9a6e-0d5f6a1c2e3f', kind: { group: '', version: 'v1', kind: 'Pod' },
        resource: { group: '', version: 'v1', resource: 'pods' }, operation: 'CREATE', namespace: 'default', object };
      const input = JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request });
      const url = `https://${address}:${config.bind.split(':').pop()}/mutate`;
      const { stdout, stderr } = await kube.host.run('curl', ['-sSk', '-H', 'content-type: application/json', '--data-binary', '@-', url], { input });
      if (!stdout) throw new Error(stderr);
      const { response } = JSON.parse(stdout);
      if (!response.allowed) throw new Error(response.status.message);
      return patched(object, JSON.parse(Buffer.from(response.patch, 'base64')));
    },

    async stop() {
      await Promise.all(started.map((process) => process.stop()));
    },
  };
  const addresses = PODS.slice(0, replicas);
  it.replicas = await Promise.all(addresses.map(start));
  await it.announce(...addresses);
  return it;
}

/** RFC 6902, as far as patches only add and replace. */
function patched(object, operations) {
  const document = structuredClone(object);
  for (const { op, path: pointer, value } of operations) {
    const keys = pointer.split('/').slice(1).map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = keys.pop();
    const parent = keys.reduce((at, key) => at[key], document);
    if (op === 'test') continue;
    if (!['add', 'replace'].includes(op)) throw new Error(`${op} is not known here`);
    if (!Array.isArray(parent) || op === 'replace') parent[last] = value;
    else parent.splice(last === '-' ? parent.length : Number(last), 0, value);
  }
  return document;
}
