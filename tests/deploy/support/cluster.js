// A Kubernetes API server with its store, on a machine of its own. There are no controllers and no nodes:
// what controllers would do (endpoints of a service) the tests do, and no pod is started.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { machine, until } from './machine.js';

const CACHE = process.env.DEPLOY_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? '/var/cache', 'itwin-auth-proxy-tests');
const tool = (name) => path.join(CACHE, 'tools', name);

/** The API server's address as pods see it, and those that pods have. */
export const API = '10.96.0.1';
export const PODS = ['10.244.0.2', '10.244.0.3'];
/** Where a pod finds the token of its service account; a file system of this machine alone. */
const ACCOUNT = '/run/secrets/kubernetes.io/serviceaccount';

/** Starts one; with `kubectl`, `helm` and `apply` for its administrator. */
export async function cluster() {
  const home = mkdtempSync(path.join(tmpdir(), 'itwin-auth-proxy-cluster-'));
  const file = (name) => path.join(home, name);
  const host = await machine(
    `ip link set lo up
     for address; do ip address add "$address/32" dev lo; done
     mount -t tmpfs tmpfs /run
     mkdir -p ${ACCOUNT} /run/etcd`,
    [API, ...PODS],
  );

  const admin = randomBytes(16).toString('hex');
  writeFileSync(file('tokens.csv'), `${admin},admin,admin,"system:masters"\n`);
  const pair = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  writeFileSync(file('accounts.key'), pair.privateKey, { mode: 0o600 });
  writeFileSync(file('accounts.pub'), pair.publicKey);

  const store = host.start(path.join(CACHE, 'cluster/etcd'), [
    '--data-dir=/run/etcd', '--listen-client-urls=http://127.0.0.1:2379', '--advertise-client-urls=http://127.0.0.1:2379',
    '--listen-peer-urls=http://127.0.0.1:2380', '--logger=zap', '--log-outputs=stderr', '--log-level=warn',
  ]);
  const server = host.start(path.join(CACHE, 'cluster/kube-apiserver'), [
    '--etcd-servers=http://127.0.0.1:2379', '--bind-address=0.0.0.0', `--advertise-address=${API}`, '--secure-port=443',
    `--service-cluster-ip-range=10.96.0.0/16`, `--cert-dir=${file('server')}`, '--endpoint-reconciler-type=none',
    `--token-auth-file=${file('tokens.csv')}`, '--authorization-mode=RBAC', '--anonymous-auth=false',
    '--service-account-issuer=https://kubernetes.default.svc', `--service-account-key-file=${file('accounts.pub')}`,
    `--service-account-signing-key-file=${file('accounts.key')}`,
    // It would wait for the controller that makes service accounts.
    '--disable-admission-plugins=ServiceAccount',
    // A webhook's service is found by its endpoints, as if this machine were a node.
    '--enable-aggregator-routing=true',
  ]);

  const kubeconfig = (name, token) => {
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: { server: `https://${API}`, 'certificate-authority': file('server/apiserver.crt') } }],
      users: [{ name: 'user', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'user', namespace: 'default' } }],
      'current-context': 'test',
    };
    writeFileSync(file(name), JSON.stringify(config), { mode: 0o600 });
    return file(name);
  };
  const config = kubeconfig('admin.json', admin);
  // Helm and kubectl keep what they learn of a server.
  const env = { KUBECONFIG: config, HOME: home };

  const cluster = {
    host,
    file,

    /** Runs kubectl as the administrator, or with the token `as`: `{ code, stdout, stderr }`. */
    kubectl(args, { input, as, deadline } = {}) {
      const own = as && kubeconfig(`user-${createHash('sha256').update(as).digest('hex').slice(0, 12)}.json`, as);
      return host.run(tool('kubectl'), args, { input, deadline, env: { ...env, ...(own && { KUBECONFIG: own }) } });
    },

    /** The same; a failure is an error. Answers what it says. */
    async succeed(args, options) {
      const { code, stdout, stderr } = await cluster.kubectl(args, options);
      if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}: ${stderr}`);
      return stdout;
    },

    /** Makes what does not exist yet. */
    create: (manifest, args = [], options = {}) =>
      cluster.kubectl(['create', '-f', '-', ...args], { ...options, input: JSON.stringify(manifest) }),

    async apply(...manifests) {
      const list = { apiVersion: 'v1', kind: 'List', items: manifests };
      return cluster.succeed(['apply', '-f', '-'], { input: JSON.stringify(list) });
    },

    async get(kind, name, { namespace = 'default' } = {}) {
      return JSON.parse(await cluster.succeed(['get', kind, name, '-n', namespace, '-o', 'json']));
    },

    async helm(args, { version = 4 } = {}) {
      const { code, stdout, stderr } = await host.run(tool(`helm${version}`), args, { env });
      if (code !== 0) throw new Error(`helm ${args.join(' ')} ended with ${code}: ${stderr}`);
      return stdout;
    },

    /** A token of a service account, as a pod gets it. */
    async token(account, namespace) {
      return (await cluster.succeed(['create', 'token', account, '-n', namespace])).trim();
    },

    /** What every pod of this account finds: token, authority and namespace. Answers their environment. */
    async account(name, namespace) {
      const put = (entry, input) => host.run('sh', ['-c', `cat > ${ACCOUNT}/${entry}`], { input });
      await put('token', await cluster.token(name, namespace));
      await put('ca.crt', readFileSync(file('server/apiserver.crt')));
      await put('namespace', namespace);
      return { KUBERNETES_SERVICE_HOST: API, KUBERNETES_SERVICE_PORT: '443' };
    },

    async stop() {
      // The server first: without its store it waits for a minute.
      await server.stop();
      await store.stop();
      await host.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
  try {
    const ended = server.exited.then((how) => {
      throw new Error(`kube-apiserver ended ${JSON.stringify(how)}: ${server.lines.slice(-20).join('\n')}`);
    });
    const ready = async () => (await cluster.kubectl(['get', 'namespace', 'default', '-o', 'name'])).code === 0
      && (await cluster.kubectl(['get', '--raw', '/readyz'])).code === 0;
    await Promise.race([ended, until('the API server is ready', ready)]);
    ended.catch(() => {});
  } catch (error) {
    await host.stop();
    rmSync(home, { recursive: true, force: true });
    throw error;
  }
  return cluster;
}
