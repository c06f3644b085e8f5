// A front end that knows nothing of tokens: it asks who is signed in, and calls the API by path.
const session = await (await fetch('/.itwin-auth/session')).json();
document.querySelector('#person').textContent = JSON.stringify(session);
const answer = await fetch('/imodels/first');
document.querySelector('#answer').textContent = answer.ok ? (await answer.json()).who : `${answer.status}`;
