// Another webhook of the cluster, which runs after ours: it adds a container to every pod that it is sent.
//
//   node meddler.js PORT CERTIFICATE KEY
import { readFileSync } from 'node:fs';
import https from 'node:https';

const [port, cert, key] = process.argv.slice(2);
const LATE = [{ op: 'add', path: '/spec/containers/-', value: { name: 'late', image: 'late:1' } }];

https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { apiVersion, kind, request: asked } = JSON.parse(Buffer.concat(chunks));
  const there = asked.object.spec.containers.some(({ name }) => name === 'late');
  const patch = Buffer.from(JSON.stringify(LATE)).toString('base64');
  const answer = { uid: asked.uid, allowed: true, ...(!there && { patchType: 'JSONPatch', patch }) };
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ apiVersion, kind, response: answer }));
}).listen(Number(port), '127.0.0.1', () => console.log('listening'));
