// A front end as Bentley's articles have it: it signs in by itself and holds the token in the browser.
import { BrowserAuthorizationClient } from '@itwin/browser-authorization';

const { authority, api, scope } = await (await fetch('settings.json')).json();
const here = new URL('.', document.baseURI).href;
const client = new BrowserAuthorizationClient({
  authority,
  clientId: 'spa-b',
  redirectUri: `${here}callback`,
  postSignoutRedirectUri: here,
  silentRedirectUri: `${here}callback`,
  scope,
  responseType: 'code',
});
window.client = client;
const say = (text) => { document.querySelector('#answer').textContent = text; };
try {
  await client.handleSigninCallback();
  await client.signInRedirect(here);
  const answer = await fetch(api, { headers: { authorization: await client.getAccessToken() } });
  say(answer.ok ? (await answer.json()).who : `refused: ${answer.status}`);
} catch (error) {
  say(`failed: ${error.message}`);
}
