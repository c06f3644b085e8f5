// Clients of the generations that cannot be installed beside today's: each has a directory of its
// own, and runs in a process of its own, as an agent does, or is loaded from there.
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** Runs `legacy/GENERATION/SCRIPT` with this environment and nothing else; the JSON that it prints. */
export async function agent(generation, env, { script = 'agent.js', timeout = 30_000 } = {}) {
  const home = fileURLToPath(new URL(`../legacy/${generation}/`, import.meta.url));
  const { PATH, HOME } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, [script], {
    cwd: home,
    env: { PATH, HOME, NODE_NO_WARNINGS: '1', ...env },
    timeout,
  });
  // it may log beside it
  const line = stdout.split('\n').findLast((text) => text.startsWith('{'));
  if (!line) throw new Error(`the agent said: ${stdout}`);
  return JSON.parse(line);
}

/** `require` of the packages of a generation: `v1` or `v2`. */
export const legacy = (generation) =>
  createRequire(new URL(`../legacy/${generation}/package.json`, import.meta.url));
