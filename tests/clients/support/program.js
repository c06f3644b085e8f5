// The program under test, started as a user would: a configuration file, an environment, signals.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const PROGRAM =
  process.env.ITWIN_AUTH_PROXY ??
  fileURLToPath(new URL('../../../target/debug/itwin-auth-proxy', import.meta.url));

const START_DEADLINE = 10_000;
const STOP_DEADLINE = 10_000;

/** A directory that goes away with the test. */
export function directory(t) {
  const path_ = mkdtempSync(path.join(tmpdir(), 'itwin-auth-proxy-'));
  t.after(() => rmSync(path_, { recursive: true, force: true }));
  return path_;
}

/** Nothing of the tester's own environment that could steer the program or a client. */
function environment(extra) {
  const { PATH, HOME, TMPDIR } = process.env;
  return { PATH, HOME, ...(TMPDIR && { TMPDIR }), ...extra };
}

/** Runs a command of the program to its end. */
export async function command(args, { env = {}, timeout = 30_000 } = {}) {
  try {
    const { stdout, stderr } = await promisify(execFile)(PROGRAM, args, {
      env: environment(env),
      timeout,
      maxBuffer: 16 << 20,
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    if (typeof error.code !== 'number') throw error;
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

/**
 * Starts the program and keeps every line it writes. `lines` are its log: JSON where a line is JSON.
 * Stopped when the test ends, where it must end by itself, with code 0.
 */
export function start(t, args, { env = {}, cwd } = {}) {
  const child = spawn(PROGRAM, args, {
    env: environment(env),
    cwd,
    // Open while we live: the sandbox ends when its input does.
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const lines = [];
  const waiting = new Set();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      for (const check of waiting) check();
    });
  }
  const exited = new Promise((resolve) => {
    child.once('error', (error) => resolve({ error }));
    // not `exit`: what it wrote at last may still be on its way
    child.once('close', (code, signal) => resolve({ code, signal }));
  });

  const running = {
    child,
    pid: child.pid,
    lines,
    exited,
    /** What `pick` first makes of a line. */
    async line(pick, deadline = START_DEADLINE) {
      let timer;
      let check;
      const found = new Promise((resolve) => {
        check = () => {
          for (const line of lines) {
            const value = pick(line);
            if (value !== undefined) return resolve(value);
          }
        };
        waiting.add(check);
        check();
      });
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('the awaited line did not come')), deadline);
      });
      const gone = exited.then((how) => {
        throw new Error(`the program ended: ${JSON.stringify(how)}`);
      });
      try {
        return await Promise.race([found, late, gone]);
      } catch (error) {
        throw new Error(`${error.message}\n${lines.join('\n')}`);
      } finally {
        waiting.delete(check);
        clearTimeout(timer);
      }
    },
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE);
      const how = await exited;
      clearTimeout(timer);
      return how;
    },
    /** Resident memory in bytes. */
    memory() {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
    },
  };
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const how = await running.stop();
    assert.deepEqual(how, { code: 0, signal: null }, `ended badly\n${lines.slice(-20).join('\n')}`);
  });
  return running;
}

/** The fields of a JSON log line. */
export function logLine(line) {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/**
 * Starts the proxy with a configuration (an object; JSON is YAML) on free ports and waits until it is
 * ready. `origins` are the listeners' addresses in the order of the configuration.
 */
export async function startProxy(t, config, { env = {}, ready = true } = {}) {
  const file = path.join(directory(t), 'proxy.yaml');
  writeFileSync(file, JSON.stringify({ admin: { bind: '127.0.0.1:0' }, ...config }, null, 2));
  const running = start(t, ['run', '--config', file], {
    env: { ITWIN_LOG_FORMAT: 'json', ...env },
  });
  const wanted = config.listeners?.length ?? 1;
  const addresses = [];
  let admin;
  await running.line((line) => {
    const fields = logLine(line);
    if (fields?.message === 'admin listening') admin = fields.address;
    if (fields?.message === 'listening' && !addresses.includes(fields.address)) {
      addresses.push(fields.address);
    }
    return addresses.length >= wanted && admin ? true : undefined;
  });
  const proxy = {
    ...running,
    file,
    origins: addresses.map((address, n) => `${config.listeners?.[n]?.tls ? 'https' : 'http'}://${address}`),
    admin: `http://${admin}`,
    get requestLines() {
      return running.lines.map(logLine).filter((fields) => fields?.kind === 'request');
    },
    async status() {
      return (await fetch(`${proxy.admin}/status`)).json();
    },
    async metrics() {
      return (await fetch(`${proxy.admin}/metrics`)).text();
    },
  };
  [proxy.origin] = proxy.origins;
  if (ready) {
    await until(async () => (await fetch(`${proxy.admin}/ready`)).ok).catch((error) => {
      throw new Error(`${error.message}\n${running.lines.join('\n')}`);
    });
  }
  return proxy;
}

/** Asks again until it is so. */
export async function until(check, { deadline = START_DEADLINE, every = 20 } = {}) {
  const end = Date.now() + deadline;
  for (;;) {
    if (await check()) return;
    if (Date.now() > end) throw new Error(`not so within ${deadline} ms: ${check}`);
    await pause(every);
  }
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The sandbox: a mock provider, iModelHub and storage in the program itself. */
export async function startSandbox(t, args = []) {
  const running = start(t, ['sandbox', '--json', ...args]);
  const addresses = await running.line(logLine);
  return {
    ...running,
    ...addresses,
    counts: async () => (await fetch(`${addresses.hub}/__counts`)).json(),
    /** Makes something go wrong, or right again. */
    async fault(order) {
      const answer = await fetch(`${addresses.hub}/__faults`, {
        method: 'POST',
        body: JSON.stringify(order),
      });
      assert.ok(answer.ok, await answer.text());
    },
  };
}
