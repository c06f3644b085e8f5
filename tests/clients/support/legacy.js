// Clients of the generations that cannot be installed beside today's: each has a directory of its
// own, and is loaded from there.
import { createRequire } from 'node:module';

/** `require` of the packages of a generation: `v1` or `v2`. */
export const legacy = (generation) =>
  createRequire(new URL(`../legacy/${generation}/package.json`, import.meta.url));
