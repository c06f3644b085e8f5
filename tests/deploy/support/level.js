// Which of an area's tests run: `fast` ones always, `full` ones where containers may be used.
import { test } from 'node:test';

/** `fast` or `all`, as tests/deploy/run was called. */
export const level = process.env.DEPLOY_LEVEL ?? 'all';

/** A test that needs nothing but this machine and a moment. */
export const fast = test;

/** A test that builds images or runs containers: there is none of it at the level `fast`. */
export const full = (...args) => (level === 'all' ? test(...args) : undefined);
