import { connect, createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { scriptedSource } from "../../test/scripted-source.js";
import { ListenError, startServer } from "./server.js";

const host = "127.0.0.1";
const messages = [{ role: "user", content: "Hi" }];

function post(url: string, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

describe("a server on a socket", () => {
  test("a client that goes away stops its generation, streamed and whole", async () => {
    for (const stream of [true, false]) {
      const source = scriptedSource({ hold: true });
      await using server = await startServer({ source, host, port: 0 });
      const client = new AbortController();
      const response = post(server.url, { messages, stream }, client.signal);
      await source.until(() => source.active === 1);
      if (stream) await (await response).body?.getReader().read();
      client.abort();
      await response.catch(() => undefined);
      await source.until(() => source.active === 0);
      expect(source.calls[0]?.options.signal?.aborted).toBe(true);
    }
  });

  test("close stops streams with an error event", async () => {
    const source = scriptedSource({ hold: true });
    const server = await startServer({ source, host, port: 0 });
    const response = await post(server.url, { messages, stream: true });
    const text = response.text();
    await server.close();
    expect(await text).toContain('"code":"shutting_down"');
    expect(source.active).toBe(0);
    await expect(post(server.url, { messages })).rejects.toThrow("fetch failed");
  });

  test("close lets answers end within the grace time", async () => {
    const source = scriptedSource({ hold: true });
    const server = await startServer({ source, host, port: 0 });
    const response = await post(server.url, { messages, stream: true });
    const closed = server.close(60_000);
    source.release();
    expect(await response.text()).toContain("data: [DONE]");
    await closed;
  });

  test("refuses a foreign Host", async () => {
    await using server = await startServer({ source: scriptedSource(), host, port: 0 });
    const reply = await new Promise<string>((resolve, reject) => {
      const socket = connect(server.port, host, () =>
        socket.write("GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
      );
      let text = "";
      socket.on("data", (data) => {
        text += data.toString();
      });
      socket.on("end", () => resolve(text));
      socket.on("error", reject);
    });
    expect(reply).toMatch(/^HTTP\/1\.1 403 /);
  });

  test("a port in use is one sentence, or the next port", async () => {
    const blocker = createServer();
    const port = await new Promise<number>((resolve) => {
      blocker.listen(0, host, () => resolve((blocker.address() as { port: number }).port)); // a TCP server: an object
    });
    try {
      const failure = await startServer({ source: scriptedSource(), host, port }).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(ListenError);
      expect(String(failure)).toBe(`ListenError: port ${port} of 127.0.0.1 is in use; choose another with --port.`);
      await using server = await startServer({ source: scriptedSource(), host, port, ports: 20 });
      expect(server.port).toBeGreaterThan(port);
    } finally {
      blocker.close();
    }
  });

  test("an address of another machine is one sentence", async () => {
    await expect(startServer({ source: scriptedSource(), host: "192.0.2.1", port: 0 })).rejects.toThrow(
      "--host 192.0.2.1 is no address of this machine.",
    );
  });
});
