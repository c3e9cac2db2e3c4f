/** Listening: from the routes to a socket and back. */
import type { Server } from "node:http";
import type { Socket } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { type AppOptions, createApp } from "./app.js";
import { isLoopback } from "./origin-guard.js";

export interface ServerOptions extends Omit<AppOptions, "shutdown" | "loopbackOnly"> {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Ports to try, one after the other from `port` on. Default 1. */
  readonly ports?: number | undefined;
}

/** A server that listens. */
export interface RunningServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /**
   * Takes no more requests, gives those under way `graceMs` (default 0) to end, then stops them. The source stays the
   * caller's.
   */
  close(graceMs?: number): Promise<void>;
}

/** The address cannot be listened on. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/**
 * Starts a server. On a loopback address it answers to this machine's own names only.
 *
 * @throws {ListenError} the port is in use, or the address is not this machine's.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { host, ports = 1 } = options;
  const shutdown = new AbortController();
  const app = createApp({ ...options, shutdown: shutdown.signal, loopbackOnly: isLoopback(host) });
  // Without createServer options it is a plain HTTP server.
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  const port = await listen(server, host, options.port, ports);

  let closed: Promise<void> | undefined;
  // `close` waits for all connections: those without a request under way are ended here. (Node's closeIdleConnections
  // leaves those alone that have not had a request yet, which browsers and fetch open in advance.)
  const idle = new Set<Socket>();
  server.on("connection", (socket) => {
    idle.add(socket);
    socket.on("close", () => idle.delete(socket));
  });
  server.on("request", ({ socket }, response) => {
    idle.delete(socket);
    response.on("close", () => {
      if (closed) socket.end();
      else if (!socket.destroyed) idle.add(socket);
    });
  });
  const close = (graceMs = 0): Promise<void> => {
    closed ??= new Promise<void>((resolve) => {
      const hurry = setTimeout(() => {
        shutdown.abort(new Error("the server is shutting down"));
        // Streams end with an error that says so; a client that does not read it is not waited for.
        setTimeout(() => server.closeAllConnections(), 1000).unref();
      }, graceMs);
      server.close(() => {
        clearTimeout(hurry);
        resolve();
      });
      for (const socket of idle) socket.destroy();
    });
    return closed;
  };
  // A wildcard is no address to visit.
  const name = host === "0.0.0.0" || host === "::" ? "localhost" : host.includes(":") ? `[${host}]` : host;
  return { url: `http://${name}:${port}`, port, close, [Symbol.asyncDispose]: () => close() };
}

async function listen(server: Server, host: string, first: number, ports: number): Promise<number> {
  for (let port = first; ; port++) {
    try {
      return await new Promise<number>((resolve, reject) => {
        const fail = (error: Error) => reject(error);
        server.once("error", fail);
        server.listen(port, host, () => {
          server.off("error", fail);
          const address = server.address();
          resolve(typeof address === "object" && address ? address.port : port);
        });
      });
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EADDRINUSE" && port + 1 < first + ports && port < 65535) continue;
      throw new ListenError(sentence(code, host, first, port, error), { cause: error });
    }
  }
}

function sentence(code: unknown, host: string, first: number, last: number, error: unknown): string {
  if (code === "EADDRINUSE") {
    return first === last
      ? `port ${first} of ${host} is in use; choose another with --port.`
      : `ports ${first} to ${last} of ${host} are in use; choose another with --port.`;
  }
  if (code === "EACCES") return `port ${last} may not be used by this user; choose one above 1023 with --port.`;
  if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND") return `--host ${host} is no address of this machine.`;
  return `cannot listen on ${host}:${last}: ${error instanceof Error ? error.message : String(error)}`;
}
