// Servers of a test, on kernel-chosen loopback ports, gone when it ends.
import { once } from 'node:events';
import net from 'node:net';

/** Listens, and cuts every connection when the test ends. */
export async function listen(t, server) {
  const sockets = new Set();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return server;
}

/**
 * A door that stays while what is behind it is replaced: connections to it are passed to `door.behind`
 * (`127.0.0.1:port`), so that the address by which browsers know the proxy is known before it is started.
 */
export async function startDoor(t) {
  const open = new Set();
  const door = {
    behind: undefined,
    /** Nobody gets through, and who is inside is thrown out. */
    shut() {
      door.behind = undefined;
      for (const socket of open) socket.destroy();
    },
  };
  const server = net.createServer((outside) => {
    if (!door.behind) return outside.destroy();
    open.add(outside);
    outside.once('close', () => open.delete(outside));
    const [host, port] = door.behind.split(':');
    const inside = net.connect({ host, port });
    for (const [one, other] of [[outside, inside], [inside, outside]]) {
      one.on('error', () => other.destroy());
      one.once('close', () => other.destroy());
      one.pipe(other);
    }
    return undefined;
  });
  await listen(t, server);
  door.port = server.address().port;
  return door;
}
