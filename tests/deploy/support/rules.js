// What no schema can say: names that must lead somewhere, and what a pod may do.
import assert from 'node:assert/strict';

const CLUSTER = ['ClusterRole', 'ClusterRoleBinding', 'MutatingWebhookConfiguration', 'Namespace'];

/** A workload's pod template, if the object has one. */
export const podOf = (object) => object.spec?.template?.spec && object.spec.template;
export const kind = (objects, name) => objects.filter((object) => object.kind === name);
export const one = (objects, name) => {
  const found = kind(objects, name);
  assert.equal(found.length, 1, `${name}: ${found.length} of them`);
  return found[0];
};
export const containers = (pod) => [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
export const proxy = (pod) => containers(pod).find(({ name }) => name === 'itwin-auth-proxy');

const matches = (labels, selector) =>
  Object.entries(selector).every(([key, value]) => labels?.[key] === value);

/** The level "restricted" of the Pod Security Standards. */
function restricted(pod, where) {
  const { spec } = pod;
  for (const key of ['hostNetwork', 'hostPID', 'hostIPC', 'hostUsers']) assert.ok(!spec[key], `${where}: ${key}`);
  for (const volume of spec.volumes ?? []) {
    const [type] = Object.keys(volume).filter((key) => key !== 'name');
    const allowed = ['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'persistentVolumeClaim', 'projected', 'secret'];
    assert.ok(allowed.includes(type), `${where}: volume ${volume.name} is a ${type}`);
  }
  for (const container of containers(pod)) {
    const at = `${where}: ${container.name}`;
    const own = container.securityContext;
    assert.ok(own, `${at} has no securityContext`);
    const either = (key) => own[key] ?? spec.securityContext?.[key];
    assert.equal(own.allowPrivilegeEscalation, false, `${at}: allowPrivilegeEscalation`);
    assert.ok(!own.privileged, `${at}: privileged`);
    assert.deepEqual(own.capabilities, { drop: ['ALL'] }, `${at}: capabilities`);
    assert.equal(either('runAsNonRoot'), true, `${at}: runAsNonRoot`);
    assert.ok(either('runAsUser') > 0, `${at}: runAsUser`);
    assert.equal(either('seccompProfile')?.type, 'RuntimeDefault', `${at}: seccompProfile`);
    for (const port of container.ports ?? []) assert.ok(!port.hostPort, `${at}: hostPort`);
  }
  const ours = proxy(pod);
  assert.equal(ours.securityContext.readOnlyRootFilesystem, true, `${where}: readOnlyRootFilesystem`);
  assert.ok(ours.resources.limits.memory, `${where}: no limit of memory`);
  assert.ok(ours.resources.requests.cpu && ours.resources.requests.memory, `${where}: nothing requested`);
}

/** Everything that is named in a pod is there, and everything that is there is used. */
function complete(pod, objects, where) {
  const unique = (list, what) => assert.deepEqual(list, [...new Set(list)], `${where}: ${what} twice`);
  const volumes = (pod.spec.volumes ?? []).map(({ name }) => name);
  unique(volumes, 'a volume');
  unique(containers(pod).map(({ name }) => name), 'a container');
  const mounted = new Set();
  for (const container of containers(pod)) {
    const at = `${where}: ${container.name}`;
    unique((container.env ?? []).map(({ name }) => name), 'an environment variable');
    unique((container.volumeMounts ?? []).map(({ mountPath }) => mountPath), 'a mountPath');
    unique((container.ports ?? []).map(({ containerPort }) => containerPort), 'a port');
    for (const { name } of container.volumeMounts ?? []) {
      assert.ok(volumes.includes(name), `${at}: volume ${name} is not there`);
      mounted.add(name);
    }
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      const port = container[probe]?.httpGet?.port;
      if (port) assert.ok(container.ports.some(({ name }) => name === port), `${at}: port ${port} of ${probe}`);
    }
  }
  for (const volume of pod.spec.volumes ?? []) {
    assert.ok(mounted.has(volume.name), `${where}: nobody has the volume ${volume.name}`);
    const mode = (volume.secret ?? volume.projected)?.defaultMode;
    if (mode !== undefined) {
      // The files are root's: the pod's group reads them, or, in pods of others, whoever has the volume.
      const readable = pod.spec.securityContext?.fsGroup === 65532 ? 0o440 : 0o444;
      assert.equal(mode, readable, `${where}: mode of ${volume.name}`);
    }
    if (volume.configMap) {
      assert.ok(kind(objects, 'ConfigMap').some(({ metadata }) => metadata.name === volume.configMap.name), `${where}: ConfigMap ${volume.configMap.name}`);
    }
  }
  const secretVolumes = (pod.spec.volumes ?? []).filter(({ secret, csi, projected }) => secret || csi || projected);
  for (const other of pod.spec.containers.filter(({ name }) => name !== 'itwin-auth-proxy')) {
    for (const { name } of other.volumeMounts ?? []) {
      assert.ok(!secretVolumes.some((volume) => volume.name === name), `${where}: ${other.name} sees the secrets of ${name}`);
    }
  }
  const account = pod.spec.serviceAccountName;
  if (account && account !== 'default' && kind(objects, 'ServiceAccount').length > 0) {
    assert.equal(one(objects, 'ServiceAccount').metadata.name, account, `${where}: serviceAccountName`);
  }
}

/** Selectors lead to pods or Services that are there. */
function selected(objects, where) {
  const pods = objects.map(podOf).filter(Boolean);
  const services = kind(objects, 'Service');
  const ports = pods.flatMap((pod) => containers(pod).flatMap((container) => container.ports ?? []));
  const named = (port, at) =>
    assert.ok(typeof port === 'number' || ports.some(({ name }) => name === port), `${at}: no port ${port}`);
  for (const object of objects) {
    const at = `${where}: ${object.kind}`;
    const pod = podOf(object);
    if (pod && object.kind !== 'Job') {
      assert.ok(matches(pod.metadata.labels, object.spec.selector.matchLabels), `${at}: selector`);
    }
    for (const constraint of pod?.spec.topologySpreadConstraints ?? []) {
      assert.ok(matches(pod.metadata.labels, constraint.labelSelector.matchLabels), `${at}: topologySpread`);
    }
    if (object.kind === 'Service') {
      assert.ok(pods.some(({ metadata }) => matches(metadata.labels, object.spec.selector)), `${at}: selector`);
      object.spec.ports.forEach(({ targetPort }) => named(targetPort, at));
    }
    if (object.kind === 'PodDisruptionBudget') {
      assert.ok(pods.some(({ metadata }) => matches(metadata.labels, object.spec.selector.matchLabels)), at);
    }
    if (object.kind === 'NetworkPolicy') {
      assert.ok(pods.some(({ metadata }) => matches(metadata.labels, object.spec.podSelector.matchLabels)), at);
      for (const rule of object.spec.ingress) rule.ports.forEach(({ port }) => named(port, at));
    }
    if (object.kind === 'HorizontalPodAutoscaler') {
      const { kind: of, name } = object.spec.scaleTargetRef;
      const target = objects.find((one) => one.kind === of && one.metadata.name === name);
      assert.ok(target && target.spec.replicas === undefined, `${at}: ${name}`);
    }
    if (object.kind === 'ServiceMonitor') {
      const found = services.filter(({ metadata }) => matches(metadata.labels, object.spec.selector.matchLabels));
      assert.equal(found.length, 1, `${at}: ${found.length} Services`);
      for (const { port } of object.spec.endpoints) assert.ok(found[0].spec.ports.some(({ name }) => name === port), at);
    }
    if (object.kind === 'Certificate' && object.spec.issuerRef.kind === 'Issuer') {
      assert.ok(objects.some(({ kind, metadata }) => kind === 'Issuer' && metadata.name === object.spec.issuerRef.name), at);
    }
    const injected = object.metadata.annotations?.['cert-manager.io/inject-ca-from'];
    if (injected) {
      const { spec } = objects.find(({ kind, metadata }) => kind === 'Certificate' && `${metadata.namespace}/${metadata.name}` === injected);
      const [service] = services;
      assert.deepEqual(spec.dnsNames, [`${service.metadata.name}.${service.metadata.namespace}.svc`], at);
      assert.ok(pods.some((pod) => pod.spec.volumes.some(({ secret }) => secret?.secretName === spec.secretName)), at);
    }
    for (const webhook of object.webhooks ?? []) {
      const { name, namespace, port } = webhook.clientConfig.service;
      const service = services.find(({ metadata }) => metadata.name === name && metadata.namespace === namespace);
      assert.ok(service?.spec.ports.some((offered) => offered.port === port), `${at}: ${name}`);
    }
    if (object.kind.endsWith('RoleBinding')) {
      assert.ok(objects.some((role) => role.kind === object.roleRef.kind && role.metadata.name === object.roleRef.name), at);
    }
  }
}

/** All of it, for what one rendering made. */
export function sound(objects, where, namespace) {
  const seen = new Set();
  for (const object of objects) {
    const name = `${object.kind}/${object.metadata.name}`;
    assert.ok(!seen.has(name), `${where}: ${name} twice`);
    seen.add(name);
    const at = object.metadata.namespace;
    if (CLUSTER.includes(object.kind)) assert.equal(at, undefined, `${where}: ${name} has a namespace`);
    else if (namespace) assert.equal(at, namespace, `${where}: ${name}`);
    if (object.kind === 'Secret') assert.equal(object.data ?? object.stringData, undefined, `${where}: ${name} has data`);
    const pod = podOf(object);
    if (!pod) continue;
    restricted(pod, `${where}: ${name}`);
    complete(pod, objects, `${where}: ${name}`);
  }
  selected(objects, where);
}
