// One proxy goes through everything that happens to it, and whoever looks can tell what it is: by the
// scrape, the page, the traces and the doctor, each by itself.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';

import { startCollector } from '../clients/support/collector.js';
import { until } from '../clients/support/program.js';
import { startPerson } from './support/browser.js';
import { ofDoctor, ofPage, ofScrape, ofTraces, read, samples } from './support/states.js';
import { startWorld } from './support/world.js';

/** Where pictures of the page are put, if anybody wants to look at them. */
const PICTURES = process.env.PAGE_PICTURES;
/** Tokens end, and are renewed, within seconds here. */
const PATIENCE = { deadline: 12_000, every: 200 };
const STAYS = Symbol('stays ill');
const ANOTHER = 'the second secret';

/** What happens, and what makes it well again. */
const STATES = {
  healthy: {},
  'provider down': {
    happens: ({ provider }) => { provider.away = true; },
    mended: ({ provider }) => { provider.away = false; },
  },
  // what mends it is what happens next
  'secret wrong': { happens: ({ provider }) => { provider.secret = ANOTHER; }, mended: STAYS },
  'secret rotated': { happens: (world) => world.writeSecret(ANOTHER) },
  'clock wrong': {
    happens: ({ provider }) => { provider.ahead = 3_600_000; },
    mended: ({ provider }) => { provider.ahead = 0; },
  },
  'key rotated': { happens: ({ provider }) => provider.rotate() },
  'upstream down': {
    happens: ({ door }) => door.shut(),
    mended: ({ door, behind }) => { door.behind = behind; },
  },
  'reload good': { happens: (world) => world.configure([{ name: 'another', path: '/another/**', upstream: world.upstream }]) },
  'reload bad': {
    happens: (world) => world.configure([{ name: 'another', path: '/another/**', upstream: 'gopher://somewhere' }]),
    mended: (world) => world.configure([{ name: 'another', path: '/another/**', upstream: world.upstream }]),
  },
};

test('nine states are told apart by the scrape, the page, the traces and the doctor', { timeout: 400_000 }, async (t) => {
  const collector = await startCollector(t);
  const world = await startWorld(t, { telemetry: { otlp: { endpoint: collector.url } } });
  const person = await startPerson(t, { viewport: { width: 1000, height: 800 }, javaScriptEnabled: false });
  const page = await person.tab();
  const look = async () => {
    await page.goto(world.proxy.admin);
    return read(page);
  };
  const ways = {
    scrape: async () => samples(await world.proxy.metrics()),
    page: look,
    doctor: () => world.doctor(),
    traces: () => collector.spans(),
  };
  const words = {
    scrape: ofScrape,
    page: ofPage,
    doctor: ofDoctor,
    traces: (before, now) => ofTraces(now.slice(before.length)),
  };

  const [wrong, begun] = [[], Date.now()];
  for (const [state, { happens, mended }] of Object.entries(STATES)) {
    const before = {};
    for (const [way, see] of Object.entries(ways)) before[way] = state === 'healthy' && way === 'traces' ? [] : await see();
    await happens?.(world);
    for (const [way, see] of Object.entries(ways)) {
      let said;
      const told = async () => {
        await world.call();
        said = words[way](before[way], await see());
        return said === state;
      };
      await until(told, PATIENCE).catch(() => wrong.push([`${state}: ${way}`, said]));
    }
    if (PICTURES) {
      await look();
      await page.screenshot({ path: path.join(PICTURES, `${state.replace(' ', '-')}.png`) });
    }
    if (mended === STAYS) continue;
    await mended?.(world);
    const well = async () => (await world.call()).every((status) => status === 200) && (await look()).title === 'All is well';
    await until(well, { ...PATIENCE, deadline: 90_000 }).catch(() => assert.fail(`it did not recover from: ${state}; ${JSON.stringify(wrong)}`));
  }
  const { tokens } = await (await fetch(`${world.proxy.admin}/status`)).json();
  assert.ok(tokens.some(({ secret_changed: at }) => Date.parse(at) > begun - 1000), JSON.stringify(tokens));
  assert.deepEqual(wrong, []);
});
