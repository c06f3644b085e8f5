// Helm 3 and Helm 4, and what they make of the chart.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';

import { parseAllDocuments, stringify } from 'yaml';

const HERE = path.join(import.meta.dirname, '..');
export const ROOT = path.join(HERE, '../..');
export const CHART = path.join(ROOT, 'helm/itwin-auth-proxy');
export const HELMS = { 'Helm 3': tool('helm3'), 'Helm 4': tool('helm4') };

function tool(name) {
  const cache = process.env.DEPLOY_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? '/var/cache', 'itwin-auth-proxy-tests');
  return path.join(cache, 'tools', name);
}

/** A directory that is gone after the tests. */
export function directory() {
  const made = mkdtempSync(path.join(tmpdir(), 'chart-'));
  after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

const work = directory();

/** The example chart with what it depends on. */
export const EXAMPLE = path.join(work, 'example');
cpSync(path.join(ROOT, 'deploy/kubernetes/example-chart'), EXAMPLE, { recursive: true });
mkdirSync(path.join(EXAMPLE, 'charts'), { recursive: true });
cpSync(CHART, path.join(EXAMPLE, 'charts/itwin-auth-proxy'), { recursive: true });

/** Runs a program: `{ status, stdout, stderr }`. */
export function run(program, args, options = {}) {
  const done = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
  if (done.error) throw done.error;
  return done;
}

let files = 0;
/** `helm template` with these values, as it ends. */
export function template(helm, { chart = CHART, values = {}, kubernetes = '1.37.0', release = 'agents', namespace = 'itwin', more = [] } = {}) {
  const file = path.join(work, `values-${files++}.yaml`);
  writeFileSync(file, stringify(values));
  return run(HELMS[helm], ['template', release, chart, '-n', namespace, '-f', file, '--kube-version', kubernetes, ...more], {
    env: { ...process.env, HELM_CONFIG_HOME: work, HELM_CACHE_HOME: work, HELM_DATA_HOME: work },
  });
}

/** The objects that the chart makes of these values. */
export function objects(helm, options) {
  const { status, stdout, stderr } = template(helm, options);
  assert.equal(status, 0, stderr);
  return parse(stdout);
}

/** The objects of a file of manifests, read as Kubernetes reads them: YAML 1.1, where 0440 is octal. */
export function parse(text) {
  return parseAllDocuments(text, { version: '1.1' })
    .map((document) => {
      assert.deepEqual(document.errors, [], text);
      return document.toJS();
    })
    .filter(Boolean);
}

/** Strict validation of `[{ case, version, object }]` against the schemas of Kubernetes. */
export function validate(items) {
  return JSON.parse(python([], JSON.stringify(items)));
}

/** The versions of Kubernetes whose schemas are there, oldest first. */
export function versions() {
  return JSON.parse(python(['versions'], ''));
}

function python(args, input) {
  const { status, stdout, stderr } = run('python3', [path.join(HERE, 'support/validate.py'), ...args], {
    input,
    env: { ...process.env, PYTHONPATH: path.join(HERE, 'python/site-packages') },
  });
  assert.equal(status, 0, stderr);
  return stdout;
}
