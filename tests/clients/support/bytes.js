// Large bodies that are made and checked as they pass, so that nobody holds them.
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';

const BLOCK = Buffer.alloc(64 << 10, 'itwin-auth-proxy ');

/** `size` bytes, always the same. */
export function bytes(size) {
  let left = size;
  return new Readable({
    read() {
      if (left <= 0) return this.push(null);
      const chunk = left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left);
      left -= chunk.length;
      return this.push(chunk);
    },
  });
}

/** SHA-256 of `bytes(size)`. */
export function digestOf(size) {
  const digest = createHash('sha256');
  for (let left = size; left > 0; left -= BLOCK.length) {
    digest.update(left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left));
  }
  return digest.digest('hex');
}
