// The Compose files as a user finds them.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { parse } from 'yaml';

import { fast } from './support/level.js';

const HOME = path.join(import.meta.dirname, '../../deploy/compose');
const files = readdirSync(HOME).filter((name) => name.endsWith('.yaml'));

for (const file of files) {
  fast(`${file}: the proxy can do nothing that it need not`, () => {
    const { services } = parse(readFileSync(path.join(HOME, file), 'utf8'));
    const ours = Object.entries(services).filter(([, service]) => service.image?.includes('itwin-auth-proxy'));
    assert.ok(ours.length > 0);
    for (const [name, service] of ours) {
      assert.equal(service.read_only, true, name);
      assert.deepEqual(service.cap_drop, ['ALL'], name);
      assert.deepEqual(service.security_opt, ['no-new-privileges:true'], name);
    }
  });
}
