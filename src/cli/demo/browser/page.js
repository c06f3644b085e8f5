// Calls the API on the page's own origin. Nowhere here is a token: the proxy adds it.
const PREFIX = '/.itwin-auth';
const EVERY = 2000;
const at = (id) => document.getElementById(id);
const made = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
const tally = { calls: 0, failed: 0 };

class Away extends Error {}

/** The JSON at `address`. Who is not signed in (any more) is sent to sign in. */
async function call(address, version) {
  const headers = { Accept: `application/vnd.bentley.itwin-platform.${version}+json` };
  const answer = await fetch(address, { headers }).catch(() => undefined);
  if (answer?.status === 401) {
    location.assign(`${PREFIX}/login?return_to=${encodeURIComponent(location.pathname)}`);
    throw new Away();
  }
  tally.calls += 1;
  tally.failed += answer?.ok ? 0 : 1;
  at('calls').textContent = `${tally.calls} calls, ${tally.failed} failed.`;
  const trouble = answer?.ok ? '' : `A call failed: ${answer ? `${answer.status} ${(await answer.json().catch(() => ({}))).error?.message ?? ''}` : 'no answer. Does the demo still run?'}`;
  at('trouble').textContent = trouble;
  at('trouble').hidden = !trouble;
  return answer?.ok ? answer.json() : undefined;
}

async function showPerson() {
  const answer = await fetch(`${PREFIX}/session`).catch(() => undefined);
  const session = await answer?.json();
  if (!session?.signed_in) return;
  const until = new Date(session.ends_at * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  at('who').replaceChildren('Signed in as ', made('strong', session.name), ` (${session.email}), until ${until} at the latest`);
  at('sign-out').href = session.sign_out;
}

function showReach() {
  const entries = (storage) => (storage.length ? Object.keys(storage).join(', ') : 'empty');
  const found = {
    'document.cookie': document.cookie || 'empty',
    localStorage: entries(localStorage),
    sessionStorage: entries(sessionStorage),
  };
  const terms = Object.entries(found).flatMap(([name, text]) => {
    const term = document.createElement('dt');
    term.append(made('code', name));
    return [term, made('dd', text)];
  });
  at('reach').replaceChildren(...terms);
}

let next;
let pages = 0;

async function showPage() {
  at('more').disabled = true;
  const page = await call(next, 'v2');
  if (page) {
    pages += 1;
    at('models').append(...page.iModels.map((model) => made('li', model.displayName)));
    next = page._links.next?.href;
    at('pages').textContent = `${at('models').children.length} iModels on ${pages} ${pages === 1 ? 'page' : 'pages'}${next ? '' : ', all of them'}`;
  }
  at('more').disabled = !next;
}

async function start() {
  await showPerson();
  const first = (await call('/itwins?$top=1', 'v1'))?.iTwins?.[0];
  if (!first) return;
  at('itwin').textContent = `of ${first.displayName}`;
  next = `/imodels?iTwinId=${first.id}&$top=5`;
  await showPage();
  if (next) await showPage();
  const address = `/imodels?iTwinId=${first.id}&$top=1`;
  setInterval(() => {
    if (at('go-on').checked && !document.hidden) call(address, 'v2').then(showReach, () => {});
  }, EVERY);
}

showReach();
at('more').addEventListener('click', () => showPage().catch(() => {}));
start().then(showReach, (error) => {
  if (!(error instanceof Away)) throw error;
});
