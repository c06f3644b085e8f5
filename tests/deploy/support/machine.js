// A machine beside this one: its network, its mounts and its processes are its own, so that ports are
// fixed, addresses are real and nothing is left behind, however the tests end.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const DEADLINE = 60_000;

/** Nothing of the tester's own environment that could steer a program. */
const environment = (extra) => ({ PATH: process.env.PATH, HOME: '/root', ...extra });

/** Why there can be no machine here, or nothing. */
export function refusal() {
  if (process.getuid() !== 0) return 'this takes root';
  try {
    execFileSync('unshare', ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'true'], { stdio: 'pipe' });
  } catch (error) {
    return `no namespaces can be made here: ${error.stderr ?? error.message}`.trim();
  }
  return undefined;
}

/** Starts one; `setup` is a shell script run in it first, with `args` as its arguments. */
export async function machine(setup, args = [], { namespaces = [] } = {}) {
  const anchor = spawn(
    'unshare',
    ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', ...namespaces,
      // The first process ends when this one is gone, and with it all others.
      'sh', '-euc', `${setup}\necho up\nexec cat`, 'sh', ...args],
    { stdio: ['pipe', 'pipe', 'pipe'], env: environment() },
  );
  const gone = new Promise((resolve) => anchor.once('exit', resolve));
  const log = [];
  createInterface({ input: anchor.stderr }).on('line', (line) => log.push(line));
  await new Promise((resolve, reject) => {
    anchor.once('error', reject);
    createInterface({ input: anchor.stdout }).on('line', (line) => line === 'up' && resolve());
    gone.then((code) => reject(new Error(`the machine did not come up (${code}): ${log.join('\n')}`)));
  });
  const first = children(anchor.pid);

  const start = (command, args, { env, stdio = ['pipe', 'pipe', 'pipe'] } = {}) =>
    spawn('nsenter', [`--target=${first}`, '--net', '--mount', '--pid', '--', command, ...args],
      { env: environment(env), stdio });

  return {
    /** Runs a command to its end: `{ code, stdout, stderr }`. */
    async run(command, args, { input = '', env, deadline = DEADLINE } = {}) {
      const child = start(command, args, { env });
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (chunk) => { stdout += chunk; });
      child.stderr.on('data', (chunk) => { stderr += chunk; });
      child.stdin.on('error', () => {});
      child.stdin.end(input);
      const timer = setTimeout(() => signal(child, 'SIGKILL'), deadline);
      const code = await new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('close', resolve);
      });
      clearTimeout(timer);
      return { code, stdout, stderr };
    },

    /** Starts a program that stays; `lines` is what it says. */
    start(command, args, { env } = {}) {
      const child = start(command, args, { env });
      const lines = [];
      const waiting = new Set();
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          lines.push(line);
          for (const check of waiting) check();
        });
      }
      child.stdin.on('error', () => {});
      const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
      return {
        lines,
        exited,
        /** What `pick` first makes of a line that is said from the line `from` on. */
        line(pick, { from = 0, deadline = DEADLINE } = {}) {
          return new Promise((resolve, reject) => {
            let at = from;
            const check = () => {
              while (at < lines.length) {
                const value = pick(lines[at++]);
                if (value !== undefined && value !== false) return settle(resolve, value);
              }
              return undefined;
            };
            const fail = (why) => settle(reject, new Error(`${why}\n${lines.slice(-40).join('\n')}`));
            const timer = setTimeout(() => fail('the awaited line did not come'), deadline);
            const settle = (how, value) => {
              waiting.delete(check);
              clearTimeout(timer);
              how(value);
            };
            waiting.add(check);
            exited.then((how) => fail(`${command} ended: ${JSON.stringify(how)}`));
            check();
          });
        },
        signal: (name) => signal(child, name),
        async stop(name = 'SIGTERM', deadline = 20_000) {
          signal(child, name);
          const timer = setTimeout(() => signal(child, 'SIGKILL'), deadline);
          const how = await exited;
          clearTimeout(timer);
          return how;
        },
      };
    },

    /** Ends everything in it. */
    async stop() {
      anchor.stdin.end();
      const timer = setTimeout(() => anchor.kill('SIGKILL'), 10_000);
      await gone;
      clearTimeout(timer);
    },
  };
}

const children = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();

/** What `nsenter` started is its child: to enter processes' namespace it has to fork. */
function signal(nsenter, name) {
  try {
    process.kill(Number(children(nsenter.pid)), name);
  } catch {
    // It ended by itself.
  }
}

/** Calls `probe` until it answers something true. */
export async function until(what, probe, deadline = DEADLINE) {
  const end = Date.now() + deadline;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadline / 1000} s`);
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}
