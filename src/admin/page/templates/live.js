'use strict';
{
  const EVERY = 2000;
  const PATIENCE = 8000;
  let timer;
  let paused = false;
  let busy = false;

  /** Makes `old` what `next` is, and leaves alone what is the same: focus, places and selections stay. */
  const become = (old, next) => {
    if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) return old.replaceWith(next);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== next.data) old.data = next.data;
      return undefined;
    }
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const named = new Map();
    for (const child of old.children) if (child.dataset.key) named.set(child.dataset.key, child);
    let place = old.firstChild;
    for (const child of [...next.childNodes]) {
      const known = child.dataset?.key && named.get(child.dataset.key);
      if (known) {
        named.delete(child.dataset.key);
        if (known !== place) old.insertBefore(known, place);
        else place = place.nextSibling;
        become(known, child);
      } else if (!place || child.dataset?.key || place.dataset?.key) {
        old.insertBefore(child, place);
      } else {
        const at = place;
        place = place.nextSibling;
        become(at, child);
      }
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
    return undefined;
  };

  const lost = document.getElementById('lost');
  const asOf = () => document.querySelector('#live time');

  const look = async () => {
    clearTimeout(timer);
    // what somebody reads or copies is not pulled away
    const reading = !getSelection().isCollapsed;
    if (paused || busy || reading || document.hidden) return again();
    busy = true;
    try {
      const answer = await fetch('/', { headers: { accept: 'text/html' }, signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) throw new Error(answer.status);
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
      document.title = next.title;
      document.querySelector('link[rel=icon]').href = next.querySelector('link[rel=icon]').href;
      for (const part of ['#about', '#live time', 'main']) {
        become(document.querySelector(part), next.querySelector(part));
      }
    } catch {
      if (lost.hidden) lost.querySelector('time').textContent = asOf().textContent;
      lost.hidden = false;
      document.title = 'No answer – itwin-auth-proxy';
    }
    busy = false;
    return again();
  };
  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(look, EVERY);
  };

  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Pause';
  button.addEventListener('click', () => {
    paused = !paused;
    button.textContent = paused ? 'Go on' : 'Pause';
    look();
  });
  document.querySelector('#live a').replaceWith(button);
  document.addEventListener('visibilitychange', look);
  again();
}
