// What each way of looking at the proxy says about its state, as one word.
//
// Each of them is given what it saw before something happened and what it sees now, and nothing else:
// no way of looking is told by another.

/** The scrape: samples by name and labels. */
export function samples(text) {
  const all = new Map();
  for (const line of text.split('\n')) {
    const [, name, labels, value] = /^itwin_auth_proxy_(\w+?)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name) all.set(`${name}{${labels ?? ''}}`, Number(value));
  }
  return all;
}

export function ofScrape(before, now) {
  const rose = (pattern) => [...now].some(([name, value]) => pattern.test(name) && value > (before.get(name) ?? 0));
  const is = (pattern, check) => [...now].some(([name, value]) => pattern.test(name) && check(value));
  if (rose(/^reloads_total\{.*refused/)) return 'reload bad';
  if (rose(/^reloads_total\{.*applied/)) return 'reload good';
  if (rose(/^failures_total\{.*Upstream/)) return 'upstream down';
  if (is(/^provider_clock_offset_seconds/, (value) => Math.abs(value) > 60)) return 'clock wrong';
  if (rose(/^token_fetches_total\{.*"(invalid_client|fatal|401)"/)) return 'secret wrong';
  if (rose(/^token_fetches_total\{(?!.*"ok")/)) return 'provider down';
  if (rose(/^rotations_total\{.*applied/)) return 'secret rotated';
  // out of their turn, for a token that none of the known ones has signed
  if (rose(/^key_fetches_total\{.*"ok"/)) return 'key rotated';
  return is(/^token_remaining_seconds/, (value) => value > 0) ? 'healthy' : 'unknown';
}

const PAGE = [
  [/configuration as it is written was not taken/, 'reload bad'],
  [/get no answer from/, 'upstream down'],
  [/clock of this machine is/, 'clock wrong'],
  [/does not take its client id and secret/, 'secret wrong'],
  [/the provider does not answer/, 'provider down'],
  [/^A new configuration was applied/, 'reload good'],
  [/changed its keys/, 'key rotated'],
  [/^The .*secret of credential .* changed/, 'secret rotated'],
];

/** The page: its first line, or what it says first to have changed lately. */
export function ofPage(before, now) {
  const { title, notices } = now;
  const told = title === 'All is well' ? notices.find((notice) => !before.notices.some((old) => same(old, notice))) : title;
  if (!told) return 'healthy';
  return PAGE.find(([words]) => words.test(told))?.[1] ?? told;
}

/** A notice tells how long ago that was, which changes. */
const same = (one, other) => strip(one) === strip(other) && ago(one) <= ago(other);
const strip = (text) => text.replace(/(\d+ (s|min|h|d) ?)+ago/, '');
const ago = (text) => {
  const units = { s: 1, min: 60, h: 3600, d: 86_400 };
  return [...text.matchAll(/(\d+) (s|min|h|d)\b/g)].reduce((sum, [, n, unit]) => sum + n * units[unit], 0);
};

/** What the page says first, as a person reads it. */
export async function read(page) {
  return {
    title: await page.locator('h1').innerText(),
    notices: await page.locator('.findings .notice strong').allInnerTexts(),
  };
}

export function ofDoctor(before, now) {
  // words of what was seen: a port may well be 40132
  const bad = now.findings.filter(({ verdict }) => verdict !== 'ok');
  const is = (check, words) => bad.some((one) => check.test(one.check) && words.test(one.seen));
  const seen = (check, { findings }) => JSON.stringify(findings.filter((one) => check.test(one.check)).map((one) => one.seen));
  const changed = (check) => seen(check, before) !== seen(check, now);
  if (is(/^reload$/, /refused/)) return 'reload bad';
  if (bad.some(({ check, verdict }) => /^config/.test(check) && verdict === 'failure')) return 'reload bad';
  if (is(/^upstream$|^call$/, /./)) return 'upstream down';
  if (is(/^clock$/, /./)) return 'clock wrong';
  if (is(/^token$/, /invalid_client|\b401\b/)) return 'secret wrong';
  if (is(/^metadata$|^token$/, /\b503\b|temporarily/)) return 'provider down';
  const rotated = ({ findings }) => JSON.stringify(findings.filter(({ check }) => check === 'rotation'));
  if (changed(/^reload$/)) return 'reload good';
  if (rotated(before) !== rotated(now)) return 'secret rotated';
  if (changed(/^keys$|^process_keys$/)) return 'key rotated';
  return 'healthy';
}

/** The spans that came since. */
export function ofTraces(spans) {
  const failed = (name, error) => spans.some((span) => name.test(span.name) && error.test(span.attributes['error.type'] ?? ''));
  const has = (name, attribute, value) => spans.some((span) => name.test(span.name) && value.test(String(span.attributes[attribute] ?? '')));
  if (failed(/^reload/, /./)) return 'reload bad';
  if (has(/^reload/, 'itwin_auth_proxy.reload.result', /applied/)) return 'reload good';
  if (spans.some(({ kind, attributes }) => kind === 'SPAN_KIND_SERVER' && /Upstream/.test(attributes['error.type'] ?? ''))) return 'upstream down';
  if (has(/./, 'itwin_auth_proxy.clock_offset_s', /\d/)) return 'clock wrong';
  if (failed(/^token fetch/, /^(invalid_client|fatal|401)$/)) return 'secret wrong';
  if (failed(/^token fetch/, /./)) return 'provider down';
  if (spans.some(({ name }) => /rotation/.test(name))) return 'secret rotated';
  if (has(/^key fetch/, 'itwin_auth_proxy.keys.changed', /true/)) return 'key rotated';
  return spans.some(({ name }) => name === 'token fetch') ? 'healthy' : 'unknown';
}
