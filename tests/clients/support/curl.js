// curl, as the independent HTTP client.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/**
 * Runs curl; `input` is piped to it (use `--data-binary @-` or `-T -`). Answers the status, the HTTP
 * version, the header as curl saw it, and the body (a Buffer) unless `-o` took it.
 */
export async function curl(args, { input } = {}) {
  const mark = '\n--curl--';
  const home = mkdtempSync(path.join(tmpdir(), 'curl-'));
  const header = path.join(home, 'header');
  const child = spawn(
    'curl',
    ['-sS', '--max-time', '60', '--noproxy', '*', '-D', header,
      '-w', `${mark}%{http_code} %{http_version} %{size_download} %{size_upload}`, ...args],
    { stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'] },
  );
  const out = [];
  let err = '';
  child.stdout.on('data', (chunk) => out.push(chunk));
  child.stderr.on('data', (chunk) => { err += chunk; });
  if (input) input.pipe(child.stdin).on('error', () => {});
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const fields = code === 0 ? readFileSync(header, 'latin1') : '';
  rmSync(home, { recursive: true });
  if (code !== 0) throw new Error(`curl ${args.join(' ')} ended with ${code}: ${err}`);
  const all = Buffer.concat(out);
  const at = all.lastIndexOf(mark);
  const [status, version, downloaded, uploaded] = all.subarray(at + mark.length).toString().split(' ');
  return {
    status: Number(status),
    version,
    downloaded: Number(downloaded),
    uploaded: Number(uploaded),
    header: fields,
    body: all.subarray(0, at),
    json() {
      return JSON.parse(this.body);
    },
  };
}
